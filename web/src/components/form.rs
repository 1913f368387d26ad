//! What stands behind the fields of a form: what is wrong with them now, what
//! the appliance refused, and the request that sends them.
//!
//! The rules are those of `ashlar-api`, so what the console accepts the
//! appliance accepts too. A field's error shows once the reader paused or left
//! the field, and all of them once the form was sent; nothing typed is lost by
//! a refusal.

use std::fmt::Display;
use std::future::Future;
use std::str::FromStr;

use ashlar_api::error::Problem;
use ashlar_api::{Check, FieldError};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::client::Answer;

/// A request under way, and why it failed.
#[derive(Clone, Copy)]
pub struct Work {
    busy: RwSignal<bool>,
    problem: RwSignal<Option<Problem>>,
}

impl Default for Work {
    fn default() -> Self {
        Work::new()
    }
}

impl Work {
    /// Nothing under way.
    pub fn new() -> Self {
        Work {
            busy: RwSignal::new(false),
            problem: RwSignal::new(None),
        }
    }

    /// True while the request is under way.
    pub fn busy(self) -> Signal<bool> {
        self.busy.into()
    }

    /// Why the last one failed.
    pub fn problem(self) -> Signal<Option<Problem>> {
        self.problem.into()
    }

    /// Forgets why the last one failed: something else is asked now.
    pub fn forget(self) {
        self.problem.set(None);
    }

    /// Runs a request; `done` gets its answer.
    pub fn run<T: 'static>(
        self,
        request: impl Future<Output = Answer<T>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.problem.set(None);
        spawn_local(async move {
            let answer = request.await;
            // The page may be gone by now, and its signals with it.
            if self.busy.try_set(false).is_some() {
                return;
            }
            match answer {
                Ok(value) => done(value),
                Err(failure) => self.problem.set(Some(failure.problem())),
            }
        });
    }
}

/// The state of a form. Fields find it through the context.
#[derive(Clone, Copy)]
pub struct Form {
    found: Signal<Vec<FieldError>>,
    refused: RwSignal<Vec<FieldError>>,
    shown: RwSignal<bool>,
    work: Work,
    // The paths of the fields in sight: their errors need no other place.
    fields: RwSignal<Vec<String>>,
}

impl Form {
    /// A form whose errors at any moment are `found`.
    pub fn new(found: impl Fn() -> Vec<FieldError> + Send + Sync + 'static) -> Self {
        let found = Memo::new(move |_| found());
        Form {
            found: found.into(),
            refused: RwSignal::default(),
            shown: RwSignal::new(false),
            work: Work::new(),
            fields: RwSignal::default(),
        }
    }

    /// A field came into sight; it goes with the owner that calls this.
    pub fn register(self, path: &str) {
        let path = path.to_owned();
        self.fields.update(|fields| fields.push(path.clone()));
        on_cleanup(move || {
            let _ = self.fields.try_update(|fields| {
                if let Some(at) = fields.iter().position(|field| *field == path) {
                    fields.remove(at);
                }
            });
        });
    }

    /// The same, and the fields below find it.
    pub fn provide(found: impl Fn() -> Vec<FieldError> + Send + Sync + 'static) -> Self {
        let form = Form::new(found);
        provide_context(form);
        form
    }

    /// Shows every error from now on.
    pub fn show(self) {
        self.shown.set(true);
    }

    /// What is wrong with the field at `path`.
    pub fn error(self, path: &str) -> Option<String> {
        let of = |errors: &Vec<FieldError>| {
            errors
                .iter()
                .find(|error| belongs(error, path))
                .map(|error| error.message.clone())
        };
        self.refused.with(of).or_else(|| self.found.with(of))
    }

    /// True once every field shows its error.
    pub fn all_shown(self) -> bool {
        self.shown.get()
    }

    /// True if what was refused names this field.
    pub fn refused(self, path: &str) -> bool {
        self.refused
            .with(|errors| errors.iter().any(|e| belongs(e, path)))
    }

    /// The reader changed the field: what was refused is not known to be wrong any more.
    pub fn touched(self, path: &str) {
        if self
            .refused
            .with_untracked(|errors| errors.iter().any(|e| belongs(e, path)))
        {
            self.refused
                .update(|errors| errors.retain(|e| !belongs(e, path)));
        }
    }

    /// True while it is being sent.
    pub fn busy(self) -> Signal<bool> {
        self.work.busy()
    }

    /// Why it was refused, unless every reason stands at a field.
    pub fn problem(self) -> Signal<Option<Problem>> {
        Signal::derive(move || {
            let problem = self.work.problem().get()?;
            let stands = self.fields.with(|fields| {
                !problem.fields.is_empty()
                    && problem
                        .fields
                        .iter()
                        .all(|error| fields.iter().any(|field| belongs(error, field)))
            });
            (!stands).then_some(problem)
        })
    }

    /// Shows every error; true if there is none.
    pub fn look(self) -> bool {
        let sound = self.found.with_untracked(Vec::is_empty);
        self.shown.set(!sound);
        if !sound {
            focus_first_wrong();
        }
        sound
    }

    /// Shows the errors of the fields whose paths begin with one of these; true if there is none.
    pub fn look_at(self, prefixes: &[&str]) -> bool {
        let wrong = self.found.with_untracked(|errors| {
            errors.iter().any(|error| {
                prefixes
                    .iter()
                    .any(|prefix| error.field.starts_with(prefix))
            })
        });
        self.shown.set(wrong);
        if wrong {
            focus_first_wrong();
        }
        !wrong
    }

    /// The fields that the appliance refused.
    pub fn refusals(self) -> Vec<FieldError> {
        self.refused.get()
    }

    /// Sends the form, if it is sound.
    pub fn send<T: 'static>(
        self,
        request: impl Future<Output = Answer<T>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        if !self.look() {
            return;
        }
        self.refused.set(Vec::new());
        let request = async move {
            let answer = request.await;
            if let Err(failure) = &answer {
                let fields = failure.fields();
                if !fields.is_empty() && self.refused.try_set(fields).is_none() {
                    focus_first_wrong();
                }
            }
            answer
        };
        self.work.run(request, done);
    }
}

// A field for a list, such as of keys, shows the errors of its elements too.
fn belongs(error: &FieldError, path: &str) -> bool {
    error
        .field
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}

// After the errors are in the page: the reader continues where the first one is.
fn focus_first_wrong() {
    gloo_timers::callback::Timeout::new(0, || {
        let wrong = document()
            .query_selector(".field.wrong input, .field.wrong select, .field.wrong textarea")
            .ok()
            .flatten();
        if let Some(wrong) = wrong {
            use wasm_bindgen::JsCast;
            if let Some(element) = wrong.dyn_ref::<web_sys::HtmlElement>() {
                let _ = element.focus();
            }
        }
    })
    .forget();
}

/// Reads the texts of fields into values, and gathers what is wrong with them.
#[derive(Default)]
pub struct Reader {
    found: Vec<FieldError>,
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Reader::default()
    }

    /// Notes an error.
    pub fn note(&mut self, path: &str, message: impl Into<String>) {
        self.found.push(FieldError {
            field: path.to_owned(),
            message: message.into(),
        });
    }

    /// Reads one value.
    pub fn parse<T>(&mut self, path: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(path, error.to_string());
                None
            }
        }
    }

    /// Reads one value, with own words for what is wrong.
    pub fn parse_or<T: FromStr>(&mut self, path: &str, text: &str, message: &str) -> Option<T> {
        let value = text.trim().parse().ok();
        if value.is_none() {
            self.note(path, message);
        }
        value
    }

    /// Checks a whole value by its own rules.
    pub fn check<C: Check>(&mut self, value: &C) {
        if let Err(errors) = value.check() {
            self.found.extend(errors);
        }
    }

    /// The value, or what is wrong; a value that was never made is always wrong.
    pub fn done<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }
}
