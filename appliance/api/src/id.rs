//! Identifiers: a UUID (version 7, so they sort by time) in its own type per
//! noun, so that a volume's id can not be handed where a machine's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an identifier (a UUID such as 0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d)")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
        pub struct $name(pub Uuid);

        impl $name {
            /// The first eight hexadecimal digits of the random part, for names on the machine.
            pub fn short(&self) -> String {
                self.hex()[24..].to_owned()
            }
            /// All 32 hexadecimal digits, without dashes.
            pub fn hex(&self) -> String {
                self.0.simple().to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map($name).map_err(|_| InvalidId(text.to_owned()))
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                $name(id)
            }
        }
    };
}

id!(/// A node.
    NodeId);
id!(/// A virtual machine.
    VmId);
id!(/// A volume.
    VolumeId);
id!(/// A storage pool.
    PoolId);
id!(/// An image.
    ImageId);
id!(/// A network.
    NetworkId);
id!(/// A user.
    UserId);
id!(/// An API token.
    TokenId);
id!(/// A signed-in session.
    SessionId);
id!(/// A job.
    JobId);
id!(/// One start of a node.
    BootId);
