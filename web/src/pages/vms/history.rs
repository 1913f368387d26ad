//! The processor load of machines over the last hour, for the small lines in the
//! list. The appliance tells the newest load with each machine; the console
//! keeps what it saw, and reads the hour before once for each machine in sight.

use std::collections::{HashMap, HashSet};

use ashlar_api::endpoint;
use ashlar_api::metrics::{Series, VmSample};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::client;
use crate::live::Live;

/// How many values a line has.
const POINTS: usize = 60;
/// How often the list is read again while it is in sight: the load is no change
/// that the stream would tell.
const AGAIN_MS: u32 = 10_000;
/// For at most so many machines the hour before is read.
const MOST: usize = 60;

/// The loads that were seen.
#[derive(Clone, Copy)]
pub struct Histories {
    seen: RwSignal<HashMap<String, Vec<f64>>>,
    asked: StoredValue<HashSet<String>>,
}

impl Histories {
    /// Begins to watch; ends with the page.
    pub fn start(live: Live) -> Self {
        let histories = Histories {
            seen: RwSignal::default(),
            asked: StoredValue::default(),
        };
        let timer = gloo_timers::callback::Interval::new(AGAIN_MS, move || {
            if !document().hidden() {
                live.vms.touch("*");
            }
        });
        let timer = StoredValue::new_local(Some(timer));
        on_cleanup(move || timer.update_value(|timer| *timer = None));
        let newest: StoredValue<HashMap<String, ashlar_api::Timestamp>> = StoredValue::default();
        Effect::new(move |_| {
            let loads: Vec<_> = live
                .vms
                .all()
                .into_iter()
                .filter_map(|vm| Some((vm.id.to_string(), vm.status.load?)))
                .collect();
            let fresh: Vec<_> = loads
                .into_iter()
                .filter(|(key, load)| newest.with_value(|newest| newest.get(key) != Some(&load.at)))
                .collect();
            if fresh.is_empty() {
                return;
            }
            histories.seen.update(|seen| {
                for (key, load) in fresh {
                    newest.update_value(|newest| {
                        newest.insert(key.clone(), load.at);
                    });
                    let values = seen.entry(key).or_default();
                    values.push(f64::from(load.cpu));
                    if values.len() > POINTS {
                        values.remove(0);
                    }
                }
            });
        });
        histories
    }

    /// The line of one machine.
    pub fn of(key: String) -> Signal<Vec<f64>> {
        let Some(histories) = use_context::<Histories>() else {
            return Signal::stored(Vec::new());
        };
        histories.ask(&key);
        Memo::new(move |_| {
            histories
                .seen
                .with(|seen| seen.get(&key).cloned().unwrap_or_default())
        })
        .into()
    }

    fn ask(self, key: &str) {
        let first = self
            .asked
            .try_update_value(|asked| asked.len() < MOST && asked.insert(key.to_owned()));
        if first != Some(true) {
            return;
        }
        let key = key.to_owned();
        let path = format!("{}/{key}/metrics", endpoint::VMS);
        spawn_local(async move {
            let Ok(series) = client::get::<Series<VmSample>>(&path).await else {
                return;
            };
            let values = thin(
                series
                    .samples
                    .iter()
                    .map(|sample| f64::from(sample.cpu))
                    .collect(),
            );
            let _ = self.seen.try_update(|seen| {
                let newer = seen.remove(&key).unwrap_or_default();
                let mut all = values;
                all.extend(newer);
                let surplus = all.len().saturating_sub(POINTS);
                seen.insert(key, all.split_off(surplus));
            });
        });
    }
}

/// As many values as a small line can show, each the mean of those it stands for.
pub fn thin(values: Vec<f64>) -> Vec<f64> {
    if values.len() <= POINTS {
        return values;
    }
    let size = values.len().div_ceil(POINTS);
    values
        .chunks(size)
        .map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{POINTS, thin};

    #[test]
    fn thins_to_what_fits() {
        assert_eq!(thin(vec![1.0, 2.0]), vec![1.0, 2.0]);
        let many = thin(vec![0.5; 721]);
        assert!(many.len() <= POINTS && many.iter().all(|v| (v - 0.5).abs() < 1e-9));
    }
}
