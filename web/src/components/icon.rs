//! The console's icons: one path each, drawn for a 24-pixel square with round
//! ends. They stand beside words and are hidden from screen readers; where one
//! stands alone, its button carries the label.

use leptos::prelude::*;

/// A picture of one thing or act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    /// Something wants looking at.
    Alert,
    /// What a machine is made of.
    Chip,
    /// A clock, for what happened.
    Clock,
    /// Done, or well.
    Check,
    /// Close, remove from a list.
    Close,
    /// Copy to the clipboard.
    Copy,
    /// Opens what lies below.
    Down,
    /// Fetch.
    Download,
    /// Change.
    Edit,
    /// Fill the screen.
    Expand,
    /// Search.
    Find,
    /// Settings.
    Gear,
    /// The overview.
    Home,
    /// Images.
    Image,
    /// Good to know.
    Info,
    /// Jobs.
    Jobs,
    /// A token or password.
    Key,
    /// A keyboard.
    Keyboard,
    /// Cannot be changed or deleted.
    Lock,
    /// The menu of a small window.
    Menu,
    /// The dark theme.
    Moon,
    /// More acts.
    More,
    /// Networks.
    Network,
    /// A node.
    Node,
    /// Notifications.
    Bell,
    /// Leads on, or is folded.
    Next,
    /// Leads back.
    Back,
    /// Sign out.
    Out,
    /// Hold.
    Pause,
    /// Start.
    Play,
    /// Add.
    Plus,
    /// Power.
    Power,
    /// Health.
    Pulse,
    /// Start again.
    Restart,
    /// Measure.
    Ruler,
    /// The guard of certificates.
    Shield,
    /// Stop, or off.
    Stop,
    /// Storage.
    Storage,
    /// The light theme.
    Sun,
    /// A theme that follows the system.
    SunMoon,
    /// A serial line.
    Terminal,
    /// Remove for good.
    Trash,
    /// Upwards: an order.
    Up,
    /// Send.
    Upload,
    /// A person.
    User,
    /// A virtual machine.
    Vm,
}

impl Icon {
    const fn path(self) -> &'static str {
        match self {
            Icon::Alert => "M12 4 3 19h18zM12 10v4M12 17h.01",
            Icon::Chip => {
                "M8 6h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2zM10 10h4v4h-4zM9.5 3v3M14.5 3v3M9.5 18v3M14.5 18v3M3 9.5h3M3 14.5h3M18 9.5h3M18 14.5h3"
            }
            Icon::Clock => "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0zM12 7v5l3 2",
            Icon::Check => "m5 12 5 5 9-10",
            Icon::Close => "m6 6 12 12M18 6 6 18",
            Icon::Copy => "M9 9h10v11H9zM5 15V4h10",
            Icon::Down => "m6 9 6 6 6-6",
            Icon::Download => "M12 4v11M7 10.5l5 5 5-5M5 20h14",
            Icon::Edit => "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
            Icon::Expand => "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
            Icon::Find => "M17 11a6 6 0 1 1-12 0 6 6 0 0 1 12 0zM20 20l-4.5-4.5",
            Icon::Gear => {
                "M15 12a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M5.6 18.4l2.1-2.1M16.3 7.7l2.1-2.1"
            }
            Icon::Home => "m4 11 8-7 8 7v8a1 1 0 0 1-1 1h-4v-6H9v6H5a1 1 0 0 1-1-1z",
            Icon::Image => {
                "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0zM14.5 12a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z"
            }
            Icon::Info => "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0zM12 11v5M12 8h.01",
            Icon::Jobs => "M4 7h10M4 12h16M4 17h7",
            Icon::Key => "M12 15a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM11 12l9-9M16 7l3 3",
            Icon::Keyboard => {
                "M5 6h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2zM7 10h.01M10.3 10h.01M13.6 10h.01M17 10h.01M8 14h8"
            }
            Icon::Lock => "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
            Icon::Menu => "M4 6h16M4 12h16M4 18h16",
            Icon::Moon => "M20 14.5A8.5 8.5 0 1 1 9.5 4a6.7 6.7 0 0 0 10.5 10.5z",
            Icon::More => {
                "M6 12a.8.8 0 1 1-1.6 0 .8.8 0 0 1 1.6 0zM12.8 12a.8.8 0 1 1-1.6 0 .8.8 0 0 1 1.6 0zM19.6 12a.8.8 0 1 1-1.6 0 .8.8 0 0 1 1.6 0z"
            }
            Icon::Network => {
                "M10 3h4a1 1 0 0 1 1 1v3a1 1 0 0 1-1 1h-4a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM4 16h4a1 1 0 0 1 1 1v3a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1v-3a1 1 0 0 1 1-1zM16 16h4a1 1 0 0 1 1 1v3a1 1 0 0 1-1 1h-4a1 1 0 0 1-1-1v-3a1 1 0 0 1 1-1zM12 8v4M6 16v-2a2 2 0 0 1 2-2h8a2 2 0 0 1 2 2v2"
            }
            Icon::Node => {
                "M6 3h12a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM8 7h8M8 11h8M8 16h.01"
            }
            Icon::Bell => "M6 16v-5a6 6 0 1 1 12 0v5l1.5 2h-15zM10 20.5a2 2 0 0 0 4 0",
            Icon::Next => "m9 6 6 6-6 6",
            Icon::Back => "m15 6-6 6 6 6",
            Icon::Out => "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
            Icon::Pause => "M8.5 5v14M15.5 5v14",
            Icon::Play => "m8 5v14l11-7z",
            Icon::Plus => "M12 5v14M5 12h14",
            Icon::Power => "M12 3v8M6.5 6.5a8 8 0 1 0 11 0",
            Icon::Pulse => "M3 12h4l3-8 4 16 3-8h4",
            Icon::Restart => "M20 12a8 8 0 1 1-2.3-5.7L20 8.5M20 4v4.5h-4.5",
            Icon::Ruler => "M3 8h18v8H3zM7 8v3M11 8v4M15 8v3M19 8v4",
            Icon::Shield => "M12 3 5 6v5c0 4.5 3 8 7 10 4-2 7-5.5 7-10V6z",
            Icon::Stop => "M7 6h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1z",
            Icon::Storage => {
                "M5 4h14a2 2 0 0 1 2 2v3a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM5 13h14a2 2 0 0 1 2 2v3a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-3a2 2 0 0 1 2-2zM7 7.5h.01M7 16.5h.01M11 7.5h6M11 16.5h6"
            }
            Icon::Sun => {
                "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"
            }
            Icon::SunMoon => {
                "M20 12a8 8 0 1 1-16 0 8 8 0 0 1 16 0zM12 4v16M12 8h6.5M12 12h8M12 16h6.5"
            }
            Icon::Terminal => {
                "M5 5h14a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zM7 9.5l3 2.5-3 2.5M12.5 15H17"
            }
            Icon::Trash => "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
            Icon::Up => "M12 19V6M6 12l6-6 6 6",
            Icon::Upload => "M12 16V5M7 9.5l5-5 5 5M5 20h14",
            Icon::User => "M16 8a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM4.5 20.5a7.5 7.5 0 0 1 15 0",
            Icon::Vm => {
                "M5 4h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM8 20h8M12 16v4"
            }
        }
    }
}

impl Icon {
    /// The picture.
    pub fn view(self) -> AnyView {
        view! {
            <svg class="i" viewBox="0 0 24 24" aria-hidden="true">
                <path d=self.path() />
            </svg>
        }
        .into_any()
    }
}

/// The sign of Ashlar: courses of stone.
pub fn logo() -> AnyView {
    view! {
        <svg class="logo" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M3 4h10a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM11 9.8h10a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1H11a1 1 0 0 1-1-1v-2.6a1 1 0 0 1 1-1zM3 15.6h10a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1v-2.6a1 1 0 0 1 1-1z" />
            <path
                opacity=".55"
                d="M16.4 4H21a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1h-4.6a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM3 9.8h4.6a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1v-2.6a1 1 0 0 1 1-1zM16.4 15.6H21a1 1 0 0 1 1 1v2.6a1 1 0 0 1-1 1h-4.6a1 1 0 0 1-1-1v-2.6a1 1 0 0 1 1-1z"
            />
        </svg>
    }
    .into_any()
}
