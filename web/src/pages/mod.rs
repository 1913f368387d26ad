//! The pages: one file or folder a menu entry, and the two that come before the
//! menu (setup, signing in).

pub mod about;
pub mod fault;
pub mod gone;
pub mod hardware;
pub mod health;
pub mod images;
pub mod jobs;
pub mod load;
pub mod networks;
pub mod nodes;
pub mod overview;
pub mod settings;
pub mod setup;
pub mod signin;
pub mod sizing;
pub mod storage;
pub mod updates;
pub mod vms;
