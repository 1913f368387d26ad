//! What an owner keeps between two looks.

use super::*;
use crate::vm::arguments::tests::machine;
use crate::vm::status::Status;
use crate::vm::wanted::Catalogue;

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_telling_any_more_wakes_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let node = ashlar_api::NodeId(uuid::Uuid::from_u128(7));
    let boot = BootId(uuid::Uuid::from_u128(9));
    let (status, _seen) = watch::channel(Status::default());
    let (_end, ends) = watch::channel(None);
    let around = Surroundings {
        store: Store::open(directory.path(), node).await.unwrap(),
        boot,
        place: Place::default(),
        ledger: Ledger::default(),
        waker: Waker::default(),
        board: Arc::new(Board::new(status)),
        ends,
    };
    let record = machine(0, 0, false);
    let wanted = Wanted::new(record, &Catalogue::default(), &around.place, boot);
    let (_tell, told) = watch::channel(Arc::new(wanted));
    let (live, _) = watch::channel(Live::default());
    let mut owner = Owner::new(around, told, live, Arc::default());

    // Its end could not be written down, and then it was started again.
    owner.tell_again = Some(Instant::now());
    let (_, wish) = owner.wish();
    owner.settle_end(&wish).await;
    assert_eq!(owner.tell_again, None);
}
