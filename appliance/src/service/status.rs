//! What this domain tells of itself.

use std::collections::BTreeMap;

use ashlar_api::Timestamp;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::service::Service;

use crate::reconcile::Pass;

/// What is seen of the services.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The services.
    pub services: Vec<Service>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// So many early ends in a row are no accident any more.
const OFTEN: u32 = 3;

/// Under this name it is remembered since when steps fail; no service has it.
const STEPS: &str = "";

/// A fault for each service that cannot stay up, and one for the steps that failed. `since` remembers when each began.
pub fn faults(
    services: &[Service],
    failures: &[String],
    since: &mut BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Vec<Fault> {
    let failing: Vec<&Service> = services
        .iter()
        .filter(|service| !service.running && service.restarts >= OFTEN)
        .collect();
    since.retain(|name, _| match name.as_str() {
        STEPS => !failures.is_empty(),
        name => failing.iter().any(|service| service.name == name),
    });
    let mut faults: Vec<Fault> = failing
        .into_iter()
        .map(|service| Fault {
            code: format!("service-{}", service.name),
            severity: Severity::Warning,
            title: format!("The service {} does not stay up", service.name),
            detail: match service.message.as_str() {
                "" => "It ends soon after each start and says nothing.".to_owned(),
                words => format!("It ends soon after each start. Its last words: {words}"),
            },
            remedy:
                "It is started again by itself. If this lasts, restart the node and report its log."
                    .to_owned(),
            subject: None,
            since: *since.entry(service.name.clone()).or_insert(now),
        })
        .collect();
    if !failures.is_empty() {
        faults.push(Fault {
            code: "services-not-applied".to_owned(),
            severity: Severity::Warning,
            title: "Services could not be brought to what is wanted".to_owned(),
            detail: failures.join("\n"),
            remedy:
                "It is tried again by itself. If this lasts, restart the node and report this text."
                    .to_owned(),
            subject: None,
            since: *since.entry(STEPS.to_owned()).or_insert(now),
        });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(running: bool, restarts: u32) -> Service {
        Service {
            name: "chronyd".to_owned(),
            running,
            since: Timestamp::now(),
            restarts,
            message: "could not open socket".to_owned(),
        }
    }

    #[test]
    fn only_what_keeps_ending_is_a_fault_and_it_keeps_its_beginning() {
        let mut since = BTreeMap::new();
        let (then, later) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        assert!(faults(&[service(false, 1)], &[], &mut since, then).is_empty());
        let first = faults(&[service(false, 3)], &[], &mut since, then);
        assert!(first[0].detail.contains("could not open socket"));
        assert_eq!(
            faults(&[service(false, 4)], &[], &mut since, later)[0].since,
            then
        );
        assert!(faults(&[service(true, 4)], &[], &mut since, later).is_empty());
        assert_eq!(
            faults(&[service(false, 5)], &[], &mut since, later)[0].since,
            later
        );
    }

    #[test]
    fn a_step_that_fails_is_told_until_it_succeeds() {
        let mut since = BTreeMap::new();
        let (then, later) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        let failures = ["start chronyd: no such file".to_owned()];
        faults(&[], &failures, &mut since, then);
        let told = faults(&[service(false, 3)], &failures, &mut since, later);
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].since, told[1].since), (later, then));
        assert!(told[1].detail.contains("no such file"));
        assert!(faults(&[], &[], &mut since, later).is_empty());
        assert!(since.is_empty());
    }
}
