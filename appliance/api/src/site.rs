//! The site: what belongs to the whole installation and not to one node. A
//! single node is a site of one. Claiming makes somebody its owner, once.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::validate::{Check, Findings, is_host_name, is_text};

/// What is wanted of the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SiteSpec {
    /// What the site is called.
    pub name: Name,
    /// Where and what it is, in free text.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: String,
    /// Name of a time zone (IANA), used where times are shown; `UTC` when empty.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub time_zone: String,
    /// Time servers, by host name or address. Empty: those that DHCP gives, else pool.ntp.org.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 8))]
    pub ntp_servers: Vec<String>,
}

impl Check for SiteSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.description, 1000),
            "description",
            "at most 1000 characters, no control characters",
        );
        let zone = self.time_zone.len() <= 64
            && self
                .time_zone
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c));
        f.require(zone, "time_zone", "a time zone such as `Europe/Berlin`");
        f.require(
            self.ntp_servers.len() <= 8,
            "ntp_servers",
            "at most 8 time servers",
        );
        for (i, server) in self.ntp_servers.iter().enumerate() {
            let ok = is_host_name(server) || server.parse::<std::net::IpAddr>().is_ok();
            f.require(
                ok,
                &format!("ntp_servers[{i}]"),
                "a host name or an address, such as `ntp.example.org`",
            );
        }
    }
}

/// What is seen of the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SiteStatus {
    /// False until somebody has claimed it.
    pub claimed: bool,
    /// The worst that is wrong now, as one sentence; empty when all is well.
    #[serde(default)]
    pub headline: String,
    /// SHA-256 of the certificate, as pairs of hexadecimal digits with colons.
    pub certificate_fingerprint: String,
}

/// The site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Site {
    /// Grows with every change of the spec.
    pub revision: u64,
    /// What is wanted.
    pub spec: SiteSpec,
    /// What is seen.
    pub status: SiteStatus,
}

/// Makes the sender the owner of an appliance that has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimRequest {
    /// The code on the appliance's screen, such as `7KXQ-M2PD`; case and dashes do not matter.
    #[cfg_attr(feature = "openapi", schema(max_length = 20))]
    pub code: String,
    /// What the site is to be called.
    pub site: SiteSpec,
    /// What this node is to be called.
    pub node_name: Name,
    /// Name of the first administrator.
    pub user: Name,
    /// The administrator's password.
    #[cfg_attr(feature = "openapi", schema(min_length = 10, max_length = 200))]
    pub password: String,
}

impl Check for ClaimRequest {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (8..=20).contains(&self.code.len()),
            "code",
            "the code on the appliance's screen, such as `7KXQ-M2PD`",
        );
        f.within("site", &self.site);
        f.require(
            is_host_name(self.node_name.as_str()),
            "node_name",
            "a host name: letters, digits and hyphens",
        );
        crate::user::check_password(&self.password, "password", f);
    }
}

/// Asks whether a claim code is the right one, before the rest is filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimCheck {
    /// The code on the appliance's screen.
    #[cfg_attr(feature = "openapi", schema(max_length = 20))]
    pub code: String,
}

impl Check for ClaimCheck {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (8..=20).contains(&self.code.len()),
            "code",
            "the code on the appliance's screen, such as `7KXQ-M2PD`",
        );
    }
}

/// What anybody may know (`GET /api/v1/health`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// How it is.
    pub state: HealthState,
    /// Version of the appliance.
    pub version: String,
}

/// How the appliance is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthState {
    /// Nobody has claimed it yet.
    Unclaimed,
    /// It has not looked at everything yet.
    Starting,
    /// All is well.
    Healthy,
    /// Something wants looking at.
    Degraded,
    /// Something does not work.
    Critical,
}
