//! Moments as the reader's clock would show them: in the site's time zone, and
//! only as exactly as needed (`14:02` today, `Sun` this week, `22 Nov` before).
//! The browser's `Intl` knows the zones, so the program carries no zone data.

use ashlar_api::Timestamp;
use js_sys::{Array, Date, Object, Reflect};
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Intl, js_name = DateTimeFormat)]
    type DateTimeFormat;
    #[wasm_bindgen(constructor, catch, js_namespace = Intl, js_class = "DateTimeFormat")]
    fn new(locale: &str, options: &Object) -> Result<DateTimeFormat, JsValue>;
    #[wasm_bindgen(method)]
    fn format(this: &DateTimeFormat, milliseconds: f64) -> String;
    #[wasm_bindgen(method, js_name = resolvedOptions)]
    fn resolved_options(this: &DateTimeFormat) -> Object;
    #[wasm_bindgen(catch, js_namespace = Intl, js_name = supportedValuesOf)]
    fn supported_values_of(key: &str) -> Result<Array, JsValue>;
}

/// The present moment.
pub fn now() -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds of any date fit"
    )]
    let millis = Date::now() as i64;
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// Seconds from `at` until now; negative when `at` is to come.
pub fn since(at: Timestamp) -> i64 {
    now().as_second() - at.as_second()
}

/// A signal that ticks every `seconds`, for words like "9 min ago".
#[derive(Clone, Copy)]
pub struct Clock {
    tick: RwSignal<i64>,
    zone: RwSignal<String>,
}

impl Clock {
    /// A clock that ticks as long as the console lives.
    pub fn start() -> Self {
        let clock = Clock {
            tick: RwSignal::new(now().as_second()),
            zone: RwSignal::new(String::new()),
        };
        gloo_timers::callback::Interval::new(10_000, move || {
            clock.tick.set(now().as_second());
        })
        .forget();
        clock
    }

    /// The clock of the console.
    pub fn get() -> Self {
        expect_context()
    }

    /// Shows times in this zone from now on; the browser's own when empty.
    pub fn set_zone(self, zone: &str) {
        if self.zone.with_untracked(|old| old != zone) && (zone.is_empty() || known(zone)) {
            self.zone.set(zone.to_owned());
        }
    }

    /// The zone times are shown in; empty for the browser's own.
    pub fn zone(self) -> String {
        self.zone.get()
    }

    /// Seconds since `at`; changes as time goes by.
    pub fn since(self, at: Timestamp) -> i64 {
        self.tick.get().max(now().as_second() - 10) - at.as_second()
    }

    /// Just the time of day: `14:02`.
    pub fn time(self, at: Timestamp) -> String {
        self.write(at, &[("hour", "2-digit"), ("minute", "2-digit")])
    }

    /// Date and time: `22 Nov 2026, 14:02:09`.
    pub fn exact(self, at: Timestamp) -> String {
        self.write(
            at,
            &[
                ("day", "numeric"),
                ("month", "short"),
                ("year", "numeric"),
                ("hour", "2-digit"),
                ("minute", "2-digit"),
                ("second", "2-digit"),
            ],
        )
    }

    /// A day: `Today`, `Yesterday`, `Sunday 22 November`.
    pub fn day(self, at: Timestamp) -> String {
        let date = |at| {
            self.write(
                at,
                &[
                    ("day", "numeric"),
                    ("month", "numeric"),
                    ("year", "numeric"),
                ],
            )
        };
        let (then, today) = (date(at), date(now()));
        let yesterday = Timestamp::from_second(now().as_second() - 86_400).map(date);
        if then == today {
            "Today".to_owned()
        } else if yesterday.is_ok_and(|y| y == then) {
            "Yesterday".to_owned()
        } else {
            self.write(
                at,
                &[("weekday", "long"), ("day", "numeric"), ("month", "long")],
            )
        }
    }

    /// As short as a list wants it: `14:02`, `Sun`, `22 Nov`.
    pub fn brief(self, at: Timestamp) -> String {
        match self.since(at) {
            i64::MIN..64_800 => self.time(at),
            64_800..518_400 => self.write(at, &[("weekday", "short")]),
            _ => self.write(at, &[("day", "numeric"), ("month", "short")]),
        }
    }

    fn write(self, at: Timestamp, parts: &[(&str, &str)]) -> String {
        let options = Object::new();
        for (name, value) in parts {
            set(&options, name, value);
        }
        let zone = self.zone.get();
        if !zone.is_empty() {
            set(&options, "timeZone", &zone);
        }
        DateTimeFormat::new("en-GB", &options)
            .map(|format| format.format(at.as_millisecond() as f64))
            .unwrap_or_else(|_| at.to_string())
    }
}

fn set(object: &Object, name: &str, value: &str) {
    // Setting a property of a fresh plain object can not fail.
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// True if the browser knows this zone.
pub fn known(zone: &str) -> bool {
    let options = Object::new();
    set(&options, "timeZone", zone);
    DateTimeFormat::new("en-GB", &options).is_ok()
}

/// The browser's own time zone, such as `Europe/Berlin`.
pub fn own_zone() -> String {
    DateTimeFormat::new("en-GB", &Object::new())
        .ok()
        .and_then(|format| Reflect::get(&format.resolved_options(), &"timeZone".into()).ok())
        .and_then(|zone| zone.as_string())
        .unwrap_or_else(|| "UTC".to_owned())
}

/// Every zone the browser knows, to choose from.
pub fn zones() -> Vec<String> {
    let mut zones: Vec<String> = supported_values_of("timeZone")
        .map(|list| list.iter().filter_map(|zone| zone.as_string()).collect())
        .unwrap_or_default();
    if !zones.iter().any(|zone| zone == "UTC") {
        zones.push("UTC".to_owned());
    }
    zones
}
