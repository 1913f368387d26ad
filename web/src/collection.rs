//! The objects of one noun as the console holds them: a list of keys in a steady
//! order, and one signal per object, so that a change of one object redraws what
//! shows that object and nothing else.
//!
//! A collection is read when a page first asks for it and kept fresh from then
//! on by the stream of changes ([`crate::live`]). Changes that arrive together
//! are read together.

use std::collections::{BTreeSet, HashMap};

use ashlar_api::error::{Code, Problem};
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;

use crate::client::{self, Failure};

/// What the console must know about a noun to hold its objects.
pub trait Noun: Clone + PartialEq + DeserializeOwned + Send + Sync + 'static {
    /// Where its objects are listed.
    const PATH: &'static str;
    /// True if `PATH/{key}` reads one object.
    const SINGLE: bool;
    /// What tells one object from another.
    fn key(&self) -> String;
    /// What the list is ordered by.
    fn order(&self) -> String;
}

/// How far reading a collection has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reading {
    /// Nobody asked yet.
    #[default]
    Unasked,
    /// On its way for the first time.
    First,
    /// Here.
    Here,
    /// Could not be read.
    Failed(Problem),
}

#[derive(Default)]
struct Waiting {
    all: bool,
    keys: BTreeSet<String>,
    scheduled: bool,
}

/// The objects of one noun.
pub struct Collection<T: Noun> {
    keys: RwSignal<Vec<String>>,
    rows: StoredValue<HashMap<String, ArcRwSignal<T>>>,
    reading: RwSignal<Reading>,
    waiting: StoredValue<Waiting>,
}

impl<T: Noun> Clone for Collection<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Noun> Copy for Collection<T> {}

/// More changed objects than this are read as one list.
const SINGLE_READS: usize = 6;
/// How long changes are gathered before they are read.
const GATHER_MS: u32 = 120;

impl<T: Noun> Collection<T> {
    /// An empty collection that reads nothing until it is asked.
    pub fn new() -> Self {
        Collection {
            keys: RwSignal::default(),
            rows: StoredValue::default(),
            reading: RwSignal::default(),
            waiting: StoredValue::default(),
        }
    }

    /// Reads the list, unless that was done.
    pub fn want(self) -> Self {
        if self.reading.with_untracked(|r| *r == Reading::Unasked) {
            self.reading.set(Reading::First);
            self.again();
        }
        self
    }

    /// How far reading has come.
    pub fn reading(self) -> Reading {
        self.reading.get()
    }

    /// True once the objects are here.
    pub fn here(self) -> bool {
        self.reading.with(|r| *r == Reading::Here)
    }

    /// The keys, in order.
    pub fn keys(self) -> Vec<String> {
        self.keys.get()
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.keys.with(Vec::len)
    }

    /// One object; absent when there is none with this key.
    pub fn one(self, key: &str) -> Option<T> {
        // The order of keys is watched too: an object may come or go.
        self.keys.track();
        let row = self.rows.with_value(|rows| rows.get(key).cloned());
        row.map(|row| row.get())
    }

    /// The signal of one object, for a row of a list.
    pub fn row(self, key: &str) -> Option<ArcRwSignal<T>> {
        self.rows.with_value(|rows| rows.get(key).cloned())
    }

    /// All objects, in order.
    pub fn all(self) -> Vec<T> {
        let keys = self.keys.get();
        let rows: Vec<_> = self.rows.with_value(|rows| {
            keys.iter()
                .filter_map(|key| rows.get(key).cloned())
                .collect()
        });
        rows.into_iter().map(|row| row.get()).collect()
    }

    /// All objects, without being told of changes.
    pub fn all_untracked(self) -> Vec<T> {
        untrack(|| self.all())
    }

    /// Puts in an object that came as an answer or with the stream.
    pub fn put(self, object: T) {
        let key = object.key();
        let known = self.rows.with_value(|rows| rows.get(&key).cloned());
        if let Some(row) = known {
            let moved = row.with_untracked(|old| old.order() != object.order());
            if row.with_untracked(|old| *old != object) {
                row.set(object);
            }
            if moved {
                self.sort();
            }
        } else {
            self.rows.update_value(|rows| {
                rows.insert(key.clone(), ArcRwSignal::new(object));
            });
            self.keys.update(|keys| keys.push(key));
            self.sort();
        }
    }

    /// Takes an object out.
    pub fn remove(self, key: &str) {
        if self.rows.with_value(|rows| rows.contains_key(key)) {
            self.keys.update(|keys| keys.retain(|k| k != key));
            self.rows.update_value(|rows| {
                rows.remove(key);
            });
        }
    }

    /// Notes that an object changed (`*`: any), if the collection is in use.
    pub fn touch(self, key: &str) {
        if self.reading.with_untracked(|r| *r == Reading::Unasked) {
            return;
        }
        let schedule = self.waiting.try_update_value(|waiting| {
            if key == "*" || !T::SINGLE {
                waiting.all = true;
            } else {
                waiting.keys.insert(key.to_owned());
            }
            !std::mem::replace(&mut waiting.scheduled, true)
        });
        if schedule == Some(true) {
            gloo_timers::callback::Timeout::new(GATHER_MS, move || self.flush()).forget();
        }
    }

    /// Reads the whole list again.
    pub fn again(self) {
        spawn_local(async move {
            match client::list::<T>(T::PATH).await {
                Ok(objects) => self.replace(objects),
                Err(failure) => self.failed(&failure),
            }
        });
    }

    fn flush(self) {
        let Some(waiting) = self.waiting.try_update_value(std::mem::take) else {
            return;
        };
        if waiting.all || waiting.keys.len() > SINGLE_READS {
            self.again();
            return;
        }
        for key in waiting.keys {
            spawn_local(async move {
                match client::get::<T>(&format!("{}/{key}", T::PATH)).await {
                    Ok(object) => self.put(object),
                    Err(failure) if failure.code() == Some(Code::NotFound) => self.remove(&key),
                    // The stream tells when the appliance is back; all is read again then.
                    Err(_) => {}
                }
            });
        }
    }

    fn failed(self, failure: &Failure) {
        if self.reading.with_untracked(|r| *r != Reading::Here) {
            self.reading.set(Reading::Failed(failure.problem()));
        }
    }

    fn replace(self, objects: Vec<T>) {
        let mut objects = objects;
        objects.sort_by_cached_key(Noun::order);
        let keys: Vec<String> = objects.iter().map(Noun::key).collect();
        let known: Vec<_> = self.rows.with_value(|rows| {
            objects
                .iter()
                .map(|object| rows.get(&object.key()).cloned())
                .collect()
        });
        let mut fresh = HashMap::with_capacity(objects.len());
        let mut changed = Vec::new();
        for (object, row) in objects.into_iter().zip(known) {
            let key = object.key();
            let row = match row {
                Some(row) => {
                    if row.with_untracked(|old| *old != object) {
                        changed.push((row.clone(), object));
                    }
                    row
                }
                None => ArcRwSignal::new(object),
            };
            fresh.insert(key, row);
        }
        self.rows.set_value(fresh);
        for (row, object) in changed {
            row.set(object);
        }
        if self.keys.with_untracked(|old| *old != keys) {
            self.keys.set(keys);
        }
        if self.reading.with_untracked(|r| *r != Reading::Here) {
            self.reading.set(Reading::Here);
        }
    }

    fn sort(self) {
        let mut keys = self.keys.get_untracked();
        self.rows.with_value(|rows| {
            keys.sort_by_cached_key(|key| rows.get(key).map(|row| row.with_untracked(Noun::order)));
        });
        if self.keys.with_untracked(|old| *old != keys) {
            self.keys.set(keys);
        }
    }
}
