//! The catalogue of models that somebody has measured, in `catalogue.toml`.
//!
//! It is part of the program, so it is there without a network. A machine that is
//! not in it is no worse for that: the checks are the same, there is only nothing
//! to compare with. The file is read strictly: a word that is not known here, a
//! model twice, or a result that does not say with which version and when it was
//! taken is an error, which a test finds before a release does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ashlar_api::hardware::{KnownModel, Measured};
use jiff::civil::Date;
use serde::Deserialize;

use super::machine;
use super::observed::Observed;
use crate::reconcile::chain;

const TEXT: &str = include_str!("catalogue.toml");

/// Why the catalogue can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no TOML, or holds something else than models.
    #[error("the catalogue can not be read")]
    Text(#[from] toml::de::Error),
    /// A model is in it twice.
    #[error("the catalogue has {vendor} {product} twice")]
    Twice {
        /// Its maker.
        vendor: String,
        /// Its name.
        product: String,
    },
    /// A result says too little.
    #[error("in the catalogue, {field} of a result of {product} is `{value}`; write {wanted}")]
    Result {
        /// The model.
        product: String,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
}

/// A model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its maker, as its firmware says.
    vendor: String,
    /// Its name, as its firmware says.
    product: String,
    /// What it is called.
    title: String,
    /// What is to be known of it.
    #[serde(default)]
    note: String,
    /// The oldest firmware that is known to do.
    #[serde(default)]
    pub firmware: Option<Date>,
    /// What was measured on it.
    #[serde(default)]
    measured: Vec<Measurement>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measurement {
    what: String,
    result: String,
    how: String,
    version: String,
    /// Year and month.
    when: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Model>,
}

/// The models.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: Vec<Model>,
}

impl Catalogue {
    /// That of the program.
    pub fn built_in() -> &'static Catalogue {
        static READ: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::parse(TEXT).unwrap_or_else(|error| {
                tracing::error!("{}", chain(&error));
                Catalogue::default()
            })
        });
        &READ
    }

    fn parse(text: &str) -> Result<Catalogue, Error> {
        let File { model: models } = toml::from_str(text)?;
        let mut known = BTreeSet::new();
        for model in &models {
            if !known.insert((model.vendor.clone(), model.product.clone())) {
                return Err(Error::Twice {
                    vendor: model.vendor.clone(),
                    product: model.product.clone(),
                });
            }
            for result in &model.measured {
                result.check(&model.product)?;
            }
        }
        Ok(Catalogue { models })
    }

    /// The model that a machine is of.
    pub fn of(&self, seen: &Observed) -> Option<&Model> {
        let (vendor, product) = machine::name(&seen.dmi);
        let is_it = |model: &&Model| model.vendor == vendor && model.product == product;
        self.models.iter().find(is_it)
    }
}

impl Measurement {
    fn check(&self, product: &str) -> Result<(), Error> {
        let month = self.when.split_once('-').is_some_and(|(year, month)| {
            let number = |text: &str, length: usize| {
                let digits = text.len() == length && text.chars().all(|c| c.is_ascii_digit());
                text.parse::<u16>().ok().filter(|_| digits)
            };
            number(year, 4).is_some() && matches!(number(month, 2), Some(1..=12))
        });
        let fields = [
            (
                "what",
                &self.what,
                !self.what.is_empty(),
                "what was measured",
            ),
            (
                "result",
                &self.result,
                !self.result.is_empty(),
                "a number with its unit",
            ),
            (
                "how",
                &self.how,
                !self.how.is_empty(),
                "how it was measured",
            ),
            (
                "version",
                &self.version,
                !self.version.is_empty(),
                "the version of the appliance",
            ),
            ("when", &self.when, month, "year and month, as `2026-11`"),
        ];
        match fields.into_iter().find(|(_, _, holds, _)| !holds) {
            None => Ok(()),
            Some((field, value, _, wanted)) => Err(Error::Result {
                product: product.to_owned(),
                field,
                value: value.clone(),
                wanted,
            }),
        }
    }
}

impl From<&Model> for KnownModel {
    fn from(model: &Model) -> Self {
        let measured = model.measured.iter().map(|result| Measured {
            what: result.what.clone(),
            result: result.result.clone(),
            how: result.how.clone(),
            version: result.version.clone(),
            when: result.when.clone(),
        });
        KnownModel {
            title: model.title.clone(),
            note: model.note.clone(),
            measured: measured.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::observed::Dmi;

    fn machine(vendor: &str, product: &str) -> Observed {
        Observed {
            dmi: Dmi {
                vendor: vendor.to_owned(),
                product: product.to_owned(),
                ..Dmi::default()
            },
            ..Observed::default()
        }
    }

    #[test]
    fn the_catalogue_of_the_program_can_be_read() {
        let catalogue = Catalogue::parse(TEXT).unwrap();
        let emulated = machine("QEMU", "Standard PC (Q35 + ICH9, 2009)");
        let known = KnownModel::from(catalogue.of(&emulated).unwrap());
        assert!(!known.title.is_empty() && !known.measured.is_empty());
        assert!(catalogue.of(&machine("Example", "Server 1")).is_none());
        assert!(catalogue.of(&Observed::default()).is_none());
    }

    const MODEL: &str = "[[model]]\nvendor = \"A\"\nproduct = \"B\"\ntitle = \"C\"\n";

    #[test]
    fn a_result_says_how_and_when_it_was_taken() {
        let with = |when: &str, more: &str| {
            let result = format!(
                "[[model.measured]]\nwhat = \"w\"\nresult = \"1 s\"\nhow = \"h\"\nversion = \"1\"\nwhen = \"{when}\"\n{more}"
            );
            Catalogue::parse(&format!("{MODEL}{result}"))
        };
        assert!(with("2026-11", "").is_ok());
        for bad in ["2026-13", "2026", "26-11", "2026-1", "+026-11"] {
            let error = with(bad, "").unwrap_err().to_string();
            assert!(
                error.contains("when") && error.contains("2026-11"),
                "{error}"
            );
        }
        assert!(matches!(with("2026-11", "by = 1"), Err(Error::Text(_))));
        assert!(matches!(
            Catalogue::parse(&format!("{MODEL}{MODEL}")),
            Err(Error::Twice { .. })
        ));
        assert!(Catalogue::parse("[[model]]\nvendor = \"A\"\n").is_err());
    }
}
