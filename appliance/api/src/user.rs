//! People and programs that may use the appliance: users with passwords, the
//! sessions they open, and API tokens for programs.

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings, is_text};
use crate::{Name, SessionId, Timestamp, TokenId, UserId};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Also starts, stops and opens the screens of virtual machines.
    Operator,
    /// May do everything.
    Administrator,
}

/// What is wanted of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserSpec {
    /// The name to sign in with.
    pub name: Name,
    /// The person's name.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub full_name: String,
    /// What the user may do.
    pub role: Role,
}

impl Check for UserSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.full_name, 100),
            "full_name",
            "at most 100 characters, no control characters",
        );
    }
}

/// A new user: the spec and a first password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserCreate {
    /// What is wanted.
    pub spec: UserSpec,
    /// The first password.
    #[cfg_attr(feature = "openapi", schema(min_length = 10, max_length = 200))]
    pub password: String,
}

impl Check for UserCreate {
    fn check_into(&self, f: &mut Findings) {
        f.within("spec", &self.spec);
        check_password(&self.password, "password", f);
    }
}

/// A new password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PasswordChange {
    /// The password so far; needed when changing one's own.
    #[serde(default)]
    pub current: Option<String>,
    /// The new one.
    #[cfg_attr(feature = "openapi", schema(min_length = 10, max_length = 200))]
    pub new: String,
}

impl Check for PasswordChange {
    fn check_into(&self, f: &mut Findings) {
        check_password(&self.new, "new", f);
    }
}

/// The rule for passwords: length alone, as NIST SP 800-63B advises.
pub fn check_password(password: &str, field: &str, f: &mut Findings) {
    let length = password.chars().count();
    f.require(
        (10..=200).contains(&length),
        field,
        "at least 10 characters (and at most 200); a few words are better than symbols",
    );
}

/// What is seen of a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserStatus {
    /// How many sessions are open.
    pub sessions: usize,
}

object!(
    /// A user.
    User, UserId, UserSpec, UserStatus
);

/// Name and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginRequest {
    /// The name of the user.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub user: String,
    /// The password.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    pub password: String,
}

impl Check for LoginRequest {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (1..=63).contains(&self.user.len()),
            "user",
            "the name of a user",
        );
        f.require(
            self.password.len() <= 1024,
            "password",
            "at most 1024 bytes",
        );
    }
}

/// Who is signed in (`GET /api/v1/session`, and the answer to signing in). The
/// session itself is a cookie that scripts can not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// Its user.
    pub user_id: UserId,
    /// The user's name.
    pub user: Name,
    /// What the user may do.
    pub role: Role,
    /// To be sent as `X-CSRF-Token` with every request that changes something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub csrf_token: String,
    /// When it was opened.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// From which address it was opened.
    pub address: String,
    /// With which program, as that program says.
    pub agent: String,
    /// True for the session that asks.
    #[serde(default)]
    pub current: bool,
}

/// What is wanted of an API token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenSpec {
    /// What it is for.
    pub name: Name,
    /// What its holder may do; at most what its creator may.
    pub role: Role,
    /// When it ends; never, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
}

impl Check for TokenSpec {
    // That it ends in the future is for the state to say, which knows the time.
    fn check_into(&self, _: &mut Findings) {}
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Unique for ever.
    pub id: TokenId,
    /// Who made it.
    pub user: Name,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// What it is for.
    pub spec: TokenSpec,
}

/// A new token with its secret, which is shown this once and never again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// To be sent as `Authorization: Bearer …`.
    pub secret: String,
}
