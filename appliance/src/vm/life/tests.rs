//! A life against a model of QEMU and a guest, with wishes that change at any moment.

use proptest::prelude::*;

use super::*;
use ashlar_api::vm::VmPhase;

/// What a model of the node does with the actions of a life.
struct World {
    life: Life,
    wish: Wish,
    now: Instant,
    process: Option<Process>,
    /// Whether guests react to the power button.
    reacts: bool,
    /// Whether QEMU ends when it is told to.
    quits: bool,
    /// What the next start does.
    start: Start,
    starts: u32,
    resets: u32,
    erased: bool,
}

struct Process {
    guest: Guest,
    off_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Works,
    Fails,
    Blocked,
}

#[derive(Clone, Debug)]
enum Op {
    Want(Want),
    Restart,
    Reset,
    Policy(RunPolicy),
    Obstacle(bool),
    NodeEnds(u64),
    GuestEnds,
    GuestCrashes,
    NoRoom,
    ProcessDies,
    Monitor(bool),
    Reacts(bool),
    Quits(bool),
    Start(Start),
    Adopt,
    DiesAlone,
    Wait(u64),
}

fn wish() -> Wish {
    Wish {
        want: Want::Off,
        policy: RunPolicy::Always,
        restarts: 0,
        resets: 0,
        revision: 1,
        obstacle: None,
        deleting: false,
        node_ends: None,
    }
}

fn obstacle(passing: bool) -> Obstacle {
    Obstacle {
        passing,
        message: "no memory".to_owned(),
        remedy: "buy some".to_owned(),
    }
}

impl World {
    fn new() -> World {
        World {
            life: Life::default(),
            wish: wish(),
            now: Instant::now(),
            process: None,
            reacts: true,
            quits: true,
            start: Start::Works,
            starts: 0,
            resets: 0,
            erased: false,
        }
    }

    fn see(&mut self, event: Event) {
        self.life.seen(event, &self.wish, self.now);
    }

    fn change(&mut self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish);
        self.wish.revision += 1;
        self.life.note_wish(&self.wish, self.now);
    }

    fn may_cut(&self) -> bool {
        let ends = self.wish.node_ends.is_some_and(|at| self.now >= at);
        let dead = self.process.as_ref().is_some_and(|process| {
            matches!(process.guest, Guest::Loaded | Guest::Off | Guest::Crashed)
        });
        self.wish.want == Want::Cut || self.wish.deleting || ends || dead
    }

    fn die(&mut self) {
        if self.process.take().is_some() {
            self.see(Event::Exited("It was killed".to_owned()));
        }
    }

    fn perform(&mut self, action: Action) {
        let cut_allowed = self.may_cut();
        match action {
            Action::Start => {
                assert!(self.process.is_none(), "a second process");
                assert!(!self.wish.deleting && !self.erased);
                match self.start {
                    Start::Works => {
                        self.process = Some(Process {
                            guest: Guest::Loaded,
                            off_at: None,
                        });
                        self.starts += 1;
                        self.see(Event::Done(action));
                    }
                    Start::Fails => self.see(Event::Failed(action, "No such file".to_owned())),
                    Start::Blocked => self.see(Event::Blocked(obstacle(false))),
                }
                return;
            }
            Action::Erase => {
                assert!(self.process.is_none() && self.wish.deleting);
                self.erased = true;
                self.see(Event::Done(action));
                return;
            }
            _ => {}
        }
        let (reacts, quits, now) = (self.reacts, self.quits, self.now);
        let process = self.process.as_mut().expect("no process to act on");
        match action {
            Action::Resume => {
                process.guest = Guest::Running;
                self.see(Event::Done(action));
            }
            Action::Pause => {
                assert_eq!(process.guest, Guest::Running);
                process.guest = Guest::Held;
                self.see(Event::Done(action));
            }
            Action::Ask => {
                assert_eq!(process.guest, Guest::Running);
                if reacts {
                    process.off_at = Some(now + Duration::from_secs(4));
                }
                self.see(Event::Done(action));
            }
            Action::Reset => {
                if process.guest != Guest::Running {
                    process.guest = Guest::Loaded;
                }
                process.off_at = None;
                self.resets += 1;
                self.see(Event::Done(action));
            }
            Action::Quit => {
                assert!(cut_allowed, "cut without being asked: {:?}", self.wish);
                self.see(Event::Done(action));
                if quits {
                    self.die();
                }
            }
            Action::Kill => {
                assert!(
                    cut_allowed || self.life_quit(),
                    "killed without being asked"
                );
                self.see(Event::Done(action));
                self.die();
            }
            Action::Start | Action::Erase => unreachable!(),
        }
    }

    fn life_quit(&self) -> bool {
        matches!(&self.life.state, State::Up(up) if up.quit.is_some())
    }

    /// Lets this much time pass, doing what the life says.
    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        let mut at_once = 0;
        loop {
            let off = self.process.as_ref().and_then(|process| process.off_at);
            if off.is_some_and(|at| at <= self.now) {
                let process = self.process.as_mut().unwrap();
                process.off_at = None;
                if process.guest == Guest::Running {
                    process.guest = Guest::Off;
                    self.see(Event::Guest(Guest::Off));
                }
                continue;
            }
            if self.life.has_ended(&self.wish) {
                self.change(|wish| wish.want = Want::Off);
                let revision = self.wish.revision;
                self.see(Event::EndSettled(revision));
            }
            let _ = self.life.story(&self.wish, self.now);
            let next = self.life.next(&self.wish, self.now);
            if let Some(action) = next.action {
                at_once += 1;
                assert!(at_once < 20, "spins on {action:?}");
                self.perform(action);
                continue;
            }
            at_once = 0;
            let wake = [next.wake, off].into_iter().flatten().min();
            match wake {
                Some(at) if at <= until => {
                    assert!(at > self.now, "wakes in the past");
                    self.now = at;
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Want(want) => self.change(|wish| wish.want = want),
            Op::Restart => self.change(|wish| {
                wish.want = Want::On;
                wish.restarts += 1;
            }),
            Op::Reset => self.change(|wish| wish.resets += 1),
            Op::Policy(policy) => self.change(|wish| wish.policy = policy),
            Op::Obstacle(there) => {
                self.change(|wish| wish.obstacle = there.then(|| obstacle(true)));
            }
            Op::NodeEnds(seconds) => {
                let at = self.now + Duration::from_secs(seconds);
                self.change(|wish| wish.node_ends = wish.node_ends.or(Some(at)));
            }
            Op::GuestEnds => self.guest(Guest::Off),
            Op::GuestCrashes => self.guest(Guest::Crashed),
            Op::NoRoom => self.guest(Guest::NoRoom),
            Op::ProcessDies => self.die(),
            Op::Monitor(there) => self.see(Event::Monitor(there)),
            Op::Reacts(reacts) => self.reacts = reacts,
            Op::Quits(quits) => self.quits = quits,
            Op::Start(start) => {
                self.start = start;
                self.see(Event::Unblocked);
            }
            Op::Adopt => self.adopt(),
            Op::DiesAlone => {
                self.process = None;
                self.adopt();
            }
            Op::Wait(seconds) => self.run(seconds),
        }
    }

    fn guest(&mut self, guest: Guest) {
        let running = self
            .process
            .as_mut()
            .filter(|process| process.guest == Guest::Running);
        if let Some(process) = running {
            process.guest = guest;
            self.see(Event::Guest(guest));
        }
    }

    /// The supervisor was killed and a new one looks.
    fn adopt(&mut self) {
        let (restarts, resets) = (self.life.restarts, self.life.resets);
        let had_process = self.life.is_up();
        self.life = Life::default();
        match &self.process {
            Some(process) => {
                let guest = process.guest;
                self.see(Event::Adopted {
                    guest,
                    restarts,
                    resets,
                });
            }
            None if had_process => self.see(Event::Vanished { restarts, resets }),
            None => {}
        }
    }

    fn phase(&self) -> VmPhase {
        self.life.story(&self.wish, self.now).phase
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let want = prop_oneof![
        4 => Just(Want::On),
        1 => Just(Want::Paused),
        2 => Just(Want::Off),
        1 => Just(Want::Cut)
    ];
    let op = prop_oneof![
        6 => want.prop_map(Op::Want),
        2 => Just(Op::Restart),
        2 => Just(Op::Reset),
        1 => prop_oneof![Just(RunPolicy::Always), Just(RunPolicy::Manual)].prop_map(Op::Policy),
        1 => any::<bool>().prop_map(Op::Obstacle),
        1 => (1u64..200).prop_map(Op::NodeEnds),
        2 => Just(Op::GuestEnds),
        2 => Just(Op::GuestCrashes),
        1 => Just(Op::NoRoom),
        2 => Just(Op::ProcessDies),
        1 => any::<bool>().prop_map(Op::Monitor),
        1 => any::<bool>().prop_map(Op::Reacts),
        1 => any::<bool>().prop_map(Op::Quits),
        2 => prop_oneof![Just(Start::Works), Just(Start::Fails), Just(Start::Blocked)].prop_map(Op::Start),
        2 => Just(Op::Adopt),
        1 => Just(Op::DiesAlone),
        8 => (0u64..130).prop_map(Op::Wait),
    ];
    prop::collection::vec(op, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_wanted_comes_to_be(ops in ops(), last in 0u8..6) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.see(Event::Monitor(true));
        world.reacts = true;
        world.quits = true;
        world.apply(Op::Start(Start::Works));
        world.change(|wish| wish.obstacle = None);
        let ends = world.wish.node_ends.is_some();
        match last {
            0 => world.change(|wish| wish.want = Want::On),
            1 => world.change(|wish| wish.want = Want::Paused),
            2 => world.change(|wish| wish.want = Want::Off),
            3 => world.change(|wish| wish.want = Want::Cut),
            4 => world.change(|wish| wish.deleting = true),
            _ => world.apply(Op::NodeEnds(90)),
        }
        world.run(600);
        let guest = world.process.as_ref().map(|process| process.guest);
        match last {
            _ if last == 4 => prop_assert!(guest.is_none() && world.erased && world.life.is_gone()),
            _ if last > 4 || ends => prop_assert_eq!(guest, None),
            0 | 1 => {
                // A guest with the policy `manual` may have ended by itself: then it is not wanted any more.
                if world.wish.want == Want::Off {
                    prop_assert_eq!(guest, None);
                    prop_assert_eq!(world.phase(), VmPhase::Stopped);
                } else if guest == Some(Guest::Crashed) {
                    prop_assert_eq!(world.wish.policy, RunPolicy::Manual);
                    prop_assert_eq!(world.phase(), VmPhase::Failed);
                } else if last == 0 {
                    prop_assert_eq!(guest, Some(Guest::Running));
                    prop_assert_eq!(world.phase(), VmPhase::Running);
                } else {
                    prop_assert!(matches!(guest, Some(Guest::Held | Guest::Loaded | Guest::NoRoom)));
                    prop_assert_eq!(world.phase(), VmPhase::Paused);
                }
            }
            _ => {
                prop_assert_eq!(guest, None);
                prop_assert_eq!(world.phase(), VmPhase::Stopped);
            }
        }
    }
}

fn running(policy: RunPolicy) -> World {
    let mut world = World::new();
    world.change(|wish| {
        wish.want = Want::On;
        wish.policy = policy;
    });
    world.run(1);
    assert_eq!(world.phase(), VmPhase::Running);
    world
}

#[test]
fn restarts_and_resets_happen_once_each() {
    let mut world = running(RunPolicy::Always);
    world.apply(Op::Reset);
    world.run(5);
    assert_eq!((world.starts, world.resets), (1, 1));
    world.apply(Op::Restart);
    world.apply(Op::Restart);
    world.run(30);
    assert_eq!((world.starts, world.resets), (2, 1));
    world.adopt();
    world.run(300);
    assert_eq!((world.starts, world.resets), (2, 1));
    assert_eq!(world.phase(), VmPhase::Running);
}

#[test]
fn a_guest_that_was_reset_while_held_has_nothing_to_shut_down() {
    for adopted in [false, true] {
        let mut world = running(RunPolicy::Always);
        world.apply(Op::Want(Want::Paused));
        world.run(1);
        world.apply(Op::Reset);
        world.run(1);
        if adopted {
            world.adopt();
        }
        world.reacts = false;
        world.apply(Op::Want(Want::Off));
        world.run(10);
        assert_eq!((world.starts, world.resets), (1, 1));
        assert_eq!(world.phase(), VmPhase::Stopped);
    }
}

#[test]
fn a_deaf_guest_is_told_about_and_never_cut() {
    let mut world = running(RunPolicy::Always);
    world.reacts = false;
    world.apply(Op::Want(Want::Off));
    world.run(60);
    let story = world.life.story(&world.wish, world.now);
    assert_eq!(story.message, "Its guest was asked to end");
    world.run(3600);
    let story = world.life.story(&world.wish, world.now);
    assert_eq!(story.phase, VmPhase::Stopping);
    assert_eq!(
        story.message,
        "Its guest does not react to the power button"
    );
    assert_eq!(
        world.process.as_ref().map(|process| process.guest),
        Some(Guest::Running)
    );
    world.apply(Op::Want(Want::On));
    world.run(1);
    assert_eq!(world.phase(), VmPhase::Running);
    world.apply(Op::Want(Want::Cut));
    world.run(1);
    assert_eq!(world.phase(), VmPhase::Stopped);
}

#[test]
fn the_end_of_the_node_waits_for_guests_and_then_does_not() {
    let mut world = running(RunPolicy::Always);
    world.reacts = false;
    world.apply(Op::NodeEnds(90));
    world.run(89);
    assert!(world.life.is_up());
    world.run(2);
    assert!(!world.life.is_up());
    world.run(600);
    assert_eq!(world.starts, 1);
}

#[test]
fn a_guest_that_ends_is_started_again_or_settled() {
    let mut world = running(RunPolicy::Always);
    world.apply(Op::GuestEnds);
    world.run(5);
    assert_eq!((world.starts, world.phase()), (2, VmPhase::Running));

    let mut world = running(RunPolicy::Manual);
    world.apply(Op::GuestEnds);
    world.run(5);
    assert_eq!((world.starts, world.phase()), (1, VmPhase::Stopped));
    world.apply(Op::Want(Want::On));
    world.run(5);
    assert_eq!((world.starts, world.phase()), (2, VmPhase::Running));

    // Shut down by us and wanted again before it ended: that was no end of its own.
    world.apply(Op::Want(Want::Off));
    world.run(2);
    world.apply(Op::Want(Want::On));
    world.run(10);
    assert_eq!((world.starts, world.phase()), (3, VmPhase::Running));
}

#[test]
fn a_start_that_is_asked_for_before_the_end_is_settled_is_not_lost() {
    let mut world = running(RunPolicy::Manual);
    world.guest(Guest::Off);
    world.die();
    assert!(world.life.has_ended(&world.wish));
    // Written down as revision 8 and wanted again as revision 9, of which only the latter is seen.
    world.see(Event::EndSettled(8));
    assert_eq!(world.life.next(&world.wish, world.now).action, None);
    world.wish.revision = 9;
    world.run(10);
    assert_eq!((world.starts, world.phase()), (2, VmPhase::Running));
}

#[test]
fn ends_in_a_row_slow_down_and_are_called_so() {
    let mut world = running(RunPolicy::Always);
    for _ in 0..300 {
        world.run(1);
        world.apply(Op::ProcessDies);
    }
    let story = world.life.story(&world.wish, world.now);
    assert_eq!(story.phase, VmPhase::Failed);
    assert!(story.message.contains("every minute"), "{}", story.message);
    assert!((8..=12).contains(&world.starts), "{}", world.starts);
    world.run(200);
    assert_eq!(world.phase(), VmPhase::Running);
    world.apply(Op::ProcessDies);
    world.run(2);
    assert_eq!(world.phase(), VmPhase::Running);
}

#[test]
fn what_stands_in_the_way_is_told() {
    let mut world = World::new();
    world.start = Start::Blocked;
    world.apply(Op::Want(Want::On));
    world.run(100);
    let story = world.life.story(&world.wish, world.now);
    assert_eq!(
        (story.phase, story.message.as_str(), story.remedy.as_str()),
        (VmPhase::Failed, "no memory", "buy some")
    );
    world.apply(Op::Start(Start::Works));
    world.run(1);
    assert_eq!(world.phase(), VmPhase::Running);
}

#[test]
fn a_full_pool_holds_the_guest_until_there_is_room() {
    let mut world = running(RunPolicy::Always);
    world.apply(Op::NoRoom);
    world.run(10);
    let story = world.life.story(&world.wish, world.now);
    assert_eq!(story.phase, VmPhase::Paused);
    assert!(story.message.contains("pool is full"));
    world.run(30);
    assert_eq!(world.phase(), VmPhase::Running);
}
