//! What the screen tells, ready to be drawn.

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::node::Management;

/// Everything the screen shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Version of the appliance.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Where the console is, the best address first.
    pub urls: Vec<String>,
    /// SHA-256 of the certificate: pairs of hexadecimal digits with colons.
    pub fingerprint: String,
    /// The claim code, until the appliance has an owner.
    pub claim_code: Option<String>,
    /// Processor, as one line.
    pub processor: String,
    /// Memory, as one line.
    pub memory: String,
    /// Storage, as one line.
    pub storage: String,
    /// Network, as one line.
    pub network: String,
    /// Virtual machines, as one line.
    pub machines: String,
    /// Nobody has looked yet what is wrong.
    pub starting: bool,
    /// What is wrong, the worst first.
    pub faults: Vec<Fault>,
    /// Interfaces.
    pub links: Vec<LinkLine>,
    /// Drives.
    pub drives: Vec<DriveLine>,
    /// How the node is to be reached; where the editor starts.
    pub management: Management,
    /// The newest lines of the log, oldest first.
    pub log: Vec<String>,
    /// The state can not be opened: there is nothing to set or to show beside what is wrong.
    pub stateless: bool,
    /// The file that can be set aside to go on without it, by its name.
    pub aside: Option<String>,
}

/// An interface, as one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkLine {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Cable, speed, addresses.
    pub state: String,
}

/// A drive, as one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriveLine {
    /// Its name.
    pub name: String,
    /// Model and size.
    pub model: String,
    /// What it is used for.
    pub usage: String,
}

impl Facts {
    /// How the machine is, in a word.
    pub fn health(&self) -> &'static str {
        match self.faults.iter().map(|fault| fault.severity).max() {
            Some(Severity::Critical) => "needs help",
            Some(Severity::Warning) => "look at this",
            _ if self.starting => "starting",
            Some(Severity::Info) | None => "healthy",
        }
    }

    /// What the code in the picture says: the console's address with the claim
    /// code behind `#`, where it is neither sent nor logged.
    pub fn claim_url(&self) -> Option<String> {
        let code = self.claim_code.as_ref()?;
        let url = self.urls.first()?;
        Some(format!("{url}/setup#{code}"))
    }
}
