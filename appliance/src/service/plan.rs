//! What is to be done. Pure.

use super::Observed;
use super::unit::Unit;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// End a unit: it is not wanted, or not in this form.
    Stop(String),
    /// Start one.
    Start(Unit),
}

/// The difference: first everything that has to end, then what has to start, in the order of the wishes.
pub fn plan(desired: &[Unit], observed: &Observed) -> Vec<Step> {
    let as_wanted = |unit: &Unit| observed.running.get(unit.name()) == Some(&unit.fingerprint());
    let ends = observed.running.keys().filter(|name| {
        !desired
            .iter()
            .any(|unit| unit.name() == *name && as_wanted(unit))
    });
    let starts = desired.iter().filter(|unit| !as_wanted(unit));
    ends.cloned()
        .map(Step::Stop)
        .chain(starts.cloned().map(Step::Start))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(units: &[Unit]) -> Observed {
        Observed {
            running: units
                .iter()
                .map(|unit| (unit.name().to_owned(), unit.fingerprint()))
                .collect(),
        }
    }

    #[test]
    fn starts_what_does_not_run_in_order() {
        let units = vec![Unit::Udevd, Unit::chronyd(&[], &[])];
        let steps = plan(&units, &Observed::default());
        assert_eq!(
            steps,
            [Step::Start(units[0].clone()), Step::Start(units[1].clone())]
        );
        assert!(plan(&units, &running(&units)).is_empty());
    }

    #[test]
    fn replaces_what_runs_differently_and_leaves_the_rest() {
        let before = vec![Unit::Udevd, Unit::chronyd(&[], &[])];
        let servers = ["ntp.example.org".to_owned()];
        let after = vec![Unit::Udevd, Unit::chronyd(&servers, &[])];
        assert_eq!(
            plan(&after, &running(&before)),
            [
                Step::Stop("chronyd".to_owned()),
                Step::Start(after[1].clone())
            ]
        );
        assert_eq!(
            plan(&after[..1], &running(&after)),
            [Step::Stop("chronyd".to_owned())]
        );
    }
}
