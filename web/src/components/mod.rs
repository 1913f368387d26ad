//! Pieces of which pages are made. They know no noun of the API: what they show
//! and say comes from the page that uses them.

pub mod button;
pub mod chart;
pub mod copy;
pub mod dialog;
pub mod drop;
pub mod empty;
pub mod facts;
pub mod field;
pub mod form;
pub mod icon;
pub mod menu;
pub mod meter;
pub mod notice;
pub mod pick;
pub mod pill;
pub mod skeleton;
pub mod spark;
pub mod stepper;
pub mod table;
pub mod tabs;
pub mod toast;

pub use button::{Button, LinkButton, Look};
pub use chart::{Chart, Line, Unit};
pub use copy::Copy;
pub use dialog::{Confirm, Dialog};
pub use drop::DropZone;
pub use empty::Empty;
pub use facts::{Fact, Facts};
pub use field::{AreaField, PAUSE_MS, SelectField, TextField, Tick};
pub use form::{Form, Reader, Work};
pub use icon::{Icon, logo};
pub use menu::{Item, Menu, Panel, Separator};
pub use meter::{Meter, Part, Progress, SmallMeter};
pub use notice::{Notice, Trouble};
pub use pick::{Picks, Segments};
pub use pill::{Pill, Tone};
pub use skeleton::{Bone, Until};
pub use spark::Spark;
pub use stepper::Stepper;
pub use table::{Filter, SortHead, Sorting};
pub use tabs::{Tab, Tabs};
pub use toast::{Toasts, ToastsView};
