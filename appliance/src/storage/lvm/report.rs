//! What LVM tells of groups, pools and volumes: one report of everything.
//!
//! Numbers are texts in LVM's older JSON and numbers in its newer one; both are
//! read. Recorded reports are in `testdata/lvm`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ashlar_api::{Bytes, PoolId};
use serde::{Deserialize, Deserializer, Serialize};

use super::{LvmError, POOL_TAG, PREPARING_TAG};
use crate::state::schema::{LVM_TAG, THIN_POOL};

/// A volume group, with what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// Whether it bears our mark.
    pub ours: bool,
    /// The pool it was made for, as its tag says.
    pub pool: Option<PoolId>,
    /// Its size.
    pub size: Bytes,
    /// Room that no volume has.
    pub free: Bytes,
    /// Devices that are there.
    pub devices: Vec<PathBuf>,
    /// How many devices are missing.
    pub missing: usize,
    /// Its thin pool, once there is one.
    pub thin: Option<Thin>,
    /// The volumes in the thin pool.
    pub volumes: Vec<Logical>,
    /// Volumes of other kinds that are not a part of the thin pool.
    pub strangers: Vec<String>,
}

/// A thin pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thin {
    /// Room for data.
    pub size: Bytes,
    /// Whether it is active.
    pub active: bool,
    /// Share of the room for data that is used, 0 to 1; known when active.
    pub data_used: Option<f64>,
    /// Share of the room for metadata that is used, 0 to 1; known when active.
    pub metadata_used: Option<f64>,
    /// What is wrong with it, in LVM's words (`out_of_data`, `partial` …); empty when nothing is.
    pub health: String,
    /// Whether the kernel wants its metadata checked.
    pub needs_check: bool,
}

/// A volume in a thin pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logical {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// Whether it is active, that is: has a device.
    pub active: bool,
    /// Whether it bears our mark.
    pub ours: bool,
    /// Whether it is marked as not complete.
    pub preparing: bool,
    /// Share of it that has room in the pool, 0 to 1; known when active.
    pub used: Option<f64>,
}

/// All volume groups on some drives, and the drives that are prepared for one but in none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The groups, by name.
    pub groups: Vec<Group>,
    /// Devices without a group.
    pub unused: Vec<PathBuf>,
    /// Devices without a group because nothing in their metadata areas can be read: they are, or were, part of one.
    pub damaged: BTreeSet<PathBuf>,
    /// Devices with a metadata area that leads to a text which is not there, in a group or not.
    pub flawed: BTreeSet<PathBuf>,
}

#[derive(Deserialize)]
struct Whole {
    report: Vec<Part>,
    #[serde(default)]
    log: Vec<Line>,
}

/// What LVM warns of.
#[derive(Deserialize)]
struct Line {
    log_message: String,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    vg: Vec<VgRow>,
    #[serde(default)]
    pv: Vec<PvRow>,
    #[serde(default)]
    lv: Vec<LvRow>,
}

#[derive(Deserialize)]
struct VgRow {
    vg_name: String,
    vg_uuid: String,
    #[serde(default)]
    vg_tags: String,
    #[serde(deserialize_with = "number")]
    vg_size: u64,
    #[serde(deserialize_with = "number")]
    vg_free: u64,
    #[serde(deserialize_with = "number")]
    vg_missing_pv_count: u64,
}

#[derive(Deserialize)]
struct PvRow {
    pv_name: String,
    #[serde(default)]
    pv_missing: String,
}

#[derive(Deserialize)]
struct LvRow {
    lv_name: String,
    #[serde(deserialize_with = "number")]
    lv_size: u64,
    #[serde(default)]
    lv_tags: String,
    #[serde(default)]
    lv_active: String,
    #[serde(default)]
    lv_layout: String,
    #[serde(default)]
    lv_role: String,
    #[serde(default, deserialize_with = "percent")]
    data_percent: Option<f64>,
    #[serde(default, deserialize_with = "percent")]
    metadata_percent: Option<f64>,
    #[serde(default)]
    lv_health_status: String,
    #[serde(default)]
    lv_check_needed: String,
}

/// Numbers are text in LVM's older JSON and numbers in its newer one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Whole(u64),
    Float(f64),
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Value::deserialize(from)? {
        Value::Whole(number) => Ok(number),
        Value::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
        Value::Float(number) => Err(serde::de::Error::custom(format!(
            "{number} is not a whole number"
        ))),
    }
}

fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let percent = match Value::deserialize(from)? {
        Value::Text(text) if text.trim().is_empty() => return Ok(None),
        Value::Text(text) => text.trim().parse().map_err(serde::de::Error::custom)?,
        Value::Float(number) => number,
        Value::Whole(number) => number as f64,
    };
    Ok(Some(percent / 100.0))
}

pub(super) fn parse(text: &str) -> Result<Report, LvmError> {
    let whole: Whole = serde_json::from_str(text).map_err(LvmError::Report)?;
    let mut report = Report::default();
    for part in whole.report {
        let devices: Vec<PathBuf> = part
            .pv
            .iter()
            .filter(|pv| pv.pv_missing.is_empty())
            .map(|pv| PathBuf::from(&pv.pv_name))
            .collect();
        match part.vg.first() {
            Some(vg) => report.groups.push(group(vg, devices, &part.lv)),
            None => report.unused.extend(devices),
        }
    }
    for line in &whole.log {
        if let Some(device) = flawed(&line.log_message) {
            report.flawed.insert(device);
        } else if let Some(device) = unread(&line.log_message) {
            report.damaged.insert(device);
        }
    }
    // What another drive of its group tells, LVM knows without it.
    report
        .damaged
        .retain(|device| report.unused.contains(device));
    report
        .unused
        .retain(|device| !report.damaged.contains(device));
    report
        .groups
        .sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    report.unused.sort();
    Ok(report)
}

/// The device of which LVM says that one of its metadata areas leads to a bad text.
fn flawed(message: &str) -> Option<PathBuf> {
    let rest = message.strip_prefix("WARNING: bad metadata text on ")?;
    let (device, _) = rest.rsplit_once(" in mda")?;
    Some(PathBuf::from(device))
}

/// The device of which LVM says that none of its metadata areas can be read.
fn unread(message: &str) -> Option<PathBuf> {
    let rest = message.strip_prefix("WARNING: scan failed to get metadata summary from ")?;
    let (device, _) = rest.rsplit_once(" PVID ")?;
    Some(PathBuf::from(device))
}

fn group(vg: &VgRow, devices: Vec<PathBuf>, rows: &[LvRow]) -> Group {
    let mut group = Group {
        name: vg.vg_name.clone(),
        uuid: vg.vg_uuid.clone(),
        ours: has(&vg.vg_tags, LVM_TAG),
        pool: vg
            .vg_tags
            .split(',')
            .find_map(|tag| tag.strip_prefix(POOL_TAG)?.parse().ok()),
        size: Bytes(vg.vg_size),
        free: Bytes(vg.vg_free),
        devices,
        missing: usize::try_from(vg.vg_missing_pv_count).unwrap_or(usize::MAX),
        thin: None,
        volumes: Vec::new(),
        strangers: Vec::new(),
    };
    for row in rows {
        let active = row.lv_active == "active";
        // Hidden volumes, in brackets, are the parts of the others.
        if row.lv_name.starts_with('[') {
            continue;
        }
        if row.lv_name == THIN_POOL && has(&row.lv_layout, "pool") {
            group.thin = Some(Thin {
                size: Bytes(row.lv_size),
                active,
                data_used: row.data_percent,
                metadata_used: row.metadata_percent,
                health: row.lv_health_status.clone(),
                needs_check: row.lv_check_needed.contains("needed"),
            });
        } else if has(&row.lv_layout, "thin") && has(&row.lv_role, "public") {
            group.volumes.push(Logical {
                name: row.lv_name.clone(),
                size: Bytes(row.lv_size),
                active,
                ours: has(&row.lv_tags, LVM_TAG),
                preparing: has(&row.lv_tags, PREPARING_TAG),
                used: row.data_percent,
            });
        } else {
            group.strangers.push(row.lv_name.clone());
        }
    }
    group
}

/// Whether a list with commas has a word.
fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|item| item == word)
}
