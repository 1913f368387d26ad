//! What is told of pools whose metadata LVM can not read, in the worlds of the plans.

use std::path::Path;

use ashlar_api::NodeId;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::pool::DriveUsage;

use crate::storage::faults::faults;
use crate::storage::observe::Observed;
use crate::storage::status::status;
use crate::storage::want::Desired;

fn world(case: &str) -> (Desired, Observed) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/testdata/plan");
    let read = |name: &str| std::fs::read_to_string(root.join(case).join(name)).unwrap();
    (
        serde_json::from_str(&read("desired.json")).unwrap(),
        serde_json::from_str(&read("observed.json")).unwrap(),
    )
}

fn of_pool(desired: &Desired, observed: &Observed) -> Vec<Fault> {
    let all = faults(desired, observed, &[], NodeId(uuid::Uuid::nil()));
    let is_pool = |fault: &Fault| fault.code.starts_with("pool-");
    all.into_iter().filter(is_pool).collect()
}

#[test]
fn a_pool_that_can_not_be_read_is_damaged_and_not_missing() {
    let (desired, mut observed) = world("pool-unrestorable");
    let told = of_pool(&desired, &observed);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].code.as_str(), told[0].severity),
        ("pool-damaged", Severity::Critical)
    );
    assert!(
        told[0]
            .detail
            .contains("on vdb. It could not be restored: no copy of it is left.")
    );
    assert!(
        told[0]
            .remedy
            .starts_with("Restart the node, which tries it again.")
    );
    // Its drive is kept for it.
    let pool = desired.pools[0].id;
    let drive = observed.drive("disk-b").unwrap();
    assert_eq!(observed.usage(drive, &desired), DriveUsage::Pool { pool });
    observed.unrestorable.clear();
    let told = of_pool(&desired, &observed);
    assert!(told[0].remedy.starts_with("Wait a moment"));
    let (_, used) = world("pool-damaged-in-use");
    let told = of_pool(&desired, &used);
    assert!(
        told[0]
            .remedy
            .starts_with("Restart the node: it is restored")
    );
    observed.damaged.clear();
    let told = of_pool(&desired, &observed);
    assert_eq!(told[0].code, "pool-missing");
}

#[test]
fn a_restoration_is_told_and_the_pool_is_ready() {
    let (desired, mut observed) = world("converged");
    assert!(of_pool(&desired, &observed).is_empty());
    let pool = desired.pools[0].id;
    observed.restored.insert(pool);
    let told = of_pool(&desired, &observed);
    assert_eq!(
        (told[0].code.as_str(), told[0].severity),
        ("pool-restored", Severity::Warning)
    );
    let status = status(&desired, &observed, &told, &Default::default());
    let condition = &status.pools[&pool].condition;
    assert!(condition.ready && condition.message.contains("has been restored"));
}
