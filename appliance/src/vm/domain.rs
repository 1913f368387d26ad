//! The domain: sees to it that every machine on this node has an owner that
//! knows what is wanted, and that nothing is left of machines that are no more.
//!
//! It never touches a process that runs. One that nobody knows (its record was
//! lost with a state that was set aside) is left alone and told about: a guest
//! that still works is worth more than a tidy node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ashlar_api::{BootId, NodeId, VmId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::admission::Ledger;
use super::board::{Ability, Board};
use super::console::Consoles;
use super::fleet::{Fleet, Tended};
use super::owner::Surroundings;
use super::place::Place;
use super::status::Status;
use super::wanted::{Catalogue, Wanted};
use super::{Error, OURSELVES};
use crate::reconcile::{Domain, Pass, Waker};
use crate::state::command::Command;
use crate::state::schema::{Record, VmRecord};
use crate::state::{ProposeError, Store};
use crate::sys::proc;

/// So long after the start the kernel's modules may still be loaded.
const MODULES: Duration = Duration::from_secs(600);
/// When to look for them again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The domain.
#[derive(Debug)]
pub struct VmDomain {
    surroundings: Surroundings,
    fleet: Arc<Fleet>,
    /// Wakes the domain once, to look for the module again.
    look_again: Option<JoinHandle<()>>,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The owners.
    pub owners: BTreeMap<VmId, Tended>,
    /// Files of machines without an owner and without a process.
    pub leftovers: BTreeSet<VmId>,
    /// What the node can do.
    pub ability: Ability,
}

/// One thing to do.
#[derive(Clone, PartialEq)]
pub enum Step {
    /// Let an owner go whose machine is no more.
    Dismiss(VmId),
    /// Remove what is left of a machine that is no more.
    Clear(VmId),
    /// Tell the state that nothing is left of a deleted machine.
    Forget(VmId),
    /// Tell an owner what is wanted now.
    Tell(Arc<Wanted>),
    /// Give a machine an owner.
    Tend(Arc<Wanted>),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Dismiss(id) => write!(f, "Dismiss({id})"),
            Step::Clear(id) => write!(f, "Clear({id})"),
            Step::Forget(id) => write!(f, "Forget({id})"),
            Step::Tell(wanted) => write!(f, "Tell({})", wanted.assignment.record.spec.name),
            Step::Tend(wanted) => write!(f, "Tend({})", wanted.assignment.record.spec.name),
        }
    }
}

impl VmDomain {
    /// A domain for the machines of this node, and the consoles of those that run. Needs a runtime.
    pub fn new(
        store: Store,
        node: NodeId,
        boot: BootId,
        place: Place,
        waker: Waker,
        status: watch::Sender<Status>,
    ) -> (VmDomain, Consoles) {
        tracing::debug!(%node, %boot, "looks after virtual machines");
        let fleet = Arc::new(Fleet::default());
        let consoles = Consoles::new(Arc::clone(&fleet), place.clone());
        let surroundings = Surroundings {
            store,
            boot,
            place,
            ledger: Ledger::default(),
            waker,
            board: Arc::new(Board::new(status)),
            ends: fleet.ends(),
        };
        let domain = VmDomain {
            surroundings,
            fleet,
            look_again: None,
        };
        (domain, consoles)
    }

    fn catalogue(&self) -> Result<Catalogue, Error> {
        fn by_id<R: Record>(store: &Store) -> Result<BTreeMap<R::Id, R>, Error>
        where
            R::Id: Ord,
        {
            let records: Vec<R> = store.list()?;
            Ok(records
                .into_iter()
                .map(|record| (record.id(), record))
                .collect())
        }
        let store = &self.surroundings.store;
        Ok(Catalogue {
            volumes: by_id(store)?,
            images: by_id(store)?,
            networks: by_id(store)?,
        })
    }
}

impl Domain for VmDomain {
    type Desired = BTreeMap<VmId, Arc<Wanted>>;
    type Observed = Observed;
    type Step = Step;
    type Error = Error;

    const NAME: &'static str = "vm";

    fn desired(&mut self) -> Result<Self::Desired, Error> {
        let records: Vec<VmRecord> = self.surroundings.store.list()?;
        let catalogue = self.catalogue()?;
        let Surroundings { place, boot, .. } = &self.surroundings;
        Ok(records
            .into_iter()
            .map(|record| {
                let id = record.id;
                let wanted = Wanted::new(record, &catalogue, place, *boot);
                (id, Arc::new(wanted))
            })
            .collect())
    }

    async fn observe(&mut self) -> Result<Observed, Error> {
        let place = &self.surroundings.place;
        let owners = self.fleet.tended();
        let mut leftovers = BTreeSet::new();
        let mut strangers = Vec::new();
        for id in place.leftovers()? {
            if owners.contains_key(&id) {
                continue;
            }
            match place.cgroup(id)?.is_populated() {
                true => strangers.push(id),
                false => {
                    leftovers.insert(id);
                }
            }
        }
        let kvm = !place.with_kvm || place.kvm();
        // This look is as good as the one that was to come.
        if let Some(timer) = self.look_again.take() {
            timer.abort();
        }
        // Its module may be loaded later than this starts, and nothing tells of it.
        if !kvm && proc::uptime() < MODULES {
            let waker = self.surroundings.waker.clone();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(LOOK_AGAIN).await;
                waker.wake();
            });
            self.look_again = Some(timer);
        }
        Ok(Observed {
            owners,
            leftovers,
            ability: Ability {
                kvm,
                firmware: place.firmware().is_some(),
                program: place.program.exists(),
                strangers,
            },
        })
    }

    fn plan(desired: &Self::Desired, observed: &Observed) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in observed.owners.keys() {
            if !desired.contains_key(id) {
                steps.push(Step::Dismiss(*id));
            }
        }
        for id in &observed.leftovers {
            if !desired.contains_key(id) {
                steps.push(Step::Clear(*id));
            }
        }
        for (id, wanted) in desired {
            match observed.owners.get(id) {
                Some(tended) if tended.gone => steps.push(Step::Forget(*id)),
                Some(tended) if tended.wanted != *wanted => {
                    steps.push(Step::Tell(Arc::clone(wanted)));
                }
                Some(_) => {}
                None => steps.push(Step::Tend(Arc::clone(wanted))),
            }
        }
        steps
    }

    async fn apply(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Dismiss(id) => {
                self.fleet.dismiss(id);
                self.surroundings.board.forget(id);
            }
            Step::Clear(id) => self.surroundings.place.erase(id)?,
            Step::Forget(id) => {
                let command = Command::ForgetVm { id };
                match self.surroundings.store.propose(OURSELVES, command).await {
                    Ok(_) => self.fleet.dismiss(id),
                    // It is wanted after all (the state was set back): it gets a new owner.
                    Err(error @ ProposeError::Refused(_)) => {
                        self.fleet.dismiss(id);
                        return Err(error.into());
                    }
                    Err(error) => return Err(error.into()),
                }
                self.surroundings.board.forget(id);
            }
            Step::Tell(wanted) => self.fleet.tell(wanted),
            Step::Tend(wanted) => self.fleet.tend(self.surroundings.clone(), wanted),
        }
        Ok(())
    }

    fn publish(&mut self, desired: &Self::Desired, observed: &Observed, pass: &Pass) {
        let mut ability = observed.ability.clone();
        ability.strangers.retain(|id| !desired.contains_key(id));
        let known = |id| desired.contains_key(&id);
        self.surroundings.board.settle(pass, &ability, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::arguments::tests::machine;

    fn wanted(id: u128, revision: u64) -> (VmId, Arc<Wanted>) {
        let mut record = machine(0, 0, false);
        record.id = VmId(uuid::Uuid::from_u128(id));
        (record.revision, record.spec.name) = (revision, format!("m{id}").parse().expect("a name"));
        let boot = BootId(uuid::Uuid::nil());
        let wanted = Wanted::new(record, &Catalogue::default(), &Place::default(), boot);
        (wanted.assignment.record.id, Arc::new(wanted))
    }

    fn plan(desired: &[(VmId, Arc<Wanted>)], observed: &Observed) -> Vec<String> {
        let desired = desired.iter().cloned().collect();
        let steps = VmDomain::plan(&desired, observed);
        steps.iter().map(|step| format!("{step:?}")).collect()
    }

    #[test]
    fn every_record_gets_an_owner_that_knows_it() {
        let one = wanted(1, 1);
        let mut observed = Observed::default();
        assert_eq!(plan(std::slice::from_ref(&one), &observed), ["Tend(m1)"]);
        let tended = |wanted: &Arc<Wanted>, gone| Tended {
            wanted: Arc::clone(wanted),
            gone,
        };
        observed.owners.insert(one.0, tended(&one.1, false));
        assert!(plan(std::slice::from_ref(&one), &observed).is_empty());
        assert_eq!(plan(&[wanted(1, 2)], &observed), ["Tell(m1)"]);
        observed.owners.insert(one.0, tended(&one.1, true));
        let id = one.0;
        assert_eq!(plan(&[one], &observed), [format!("Forget({id})")]);
        observed.leftovers.insert(wanted(2, 1).0);
        let other = wanted(2, 1).0;
        let both = [format!("Dismiss({id})"), format!("Clear({other})")];
        assert_eq!(plan(&[], &observed), both);
        // What is left of a machine that is wanted is its owner's.
        assert_eq!(plan(&[wanted(2, 1)], &observed).len(), 2);
    }
}
