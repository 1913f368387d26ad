//! Which node this is and which start of it.
//!
//! Init makes the node's id at the first start and keeps it on the state partition; the kernel makes the id of the
//! start. A node whose state partition could not be mounted gets an id for this start only, and the fault that init
//! left says why.

use std::io;
use std::path::Path;

use ashlar_api::{BootId, Name, NodeId};
use uuid::Uuid;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// This start of it.
    pub boot: BootId,
    /// The name it has before anybody gives it one: `ashlar-` and six digits of its id.
    pub first_name: Name,
}

/// Why the node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("{path} can not be used")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file holds something that is not an id.
    #[error("{path} holds `{text}`, which is no id")]
    Content {
        /// Which.
        path: String,
        /// What it holds.
        text: String,
    },
}

/// Reads the ids.
pub fn load(state: &Path) -> Result<Identity, IdentityError> {
    let path = state.join("machine-id");
    let node = NodeId(read(&path)?);
    let boot = read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let first_name = format!("ashlar-{}", &node.hex()[..6]);
    let first_name = first_name.parse().map_err(|_| IdentityError::Content {
        path: path.display().to_string(),
        text: first_name.clone(),
    })?;
    Ok(Identity {
        node,
        boot: BootId(boot),
        first_name,
    })
}

fn read(path: &Path) -> Result<Uuid, IdentityError> {
    let text = std::fs::read_to_string(path).map_err(|source| IdentityError::File {
        path: path.display().to_string(),
        source,
    })?;
    Uuid::try_parse(text.trim()).map_err(|_| IdentityError::Content {
        path: path.display().to_string(),
        text: text.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_node_at_the_next_start() {
        let state = tempfile::tempdir().expect("a folder");
        std::fs::write(
            state.path().join("machine-id"),
            "0f0e0d0c0b0a49088706050403020100\n",
        )
        .expect("written");
        let identity = load(state.path()).expect("read");
        assert_eq!(identity.node.hex(), "0f0e0d0c0b0a49088706050403020100");
        assert_eq!(identity.first_name.as_str(), "ashlar-0f0e0d");
    }

    #[test]
    fn nonsense_is_not_replaced() {
        let state = tempfile::tempdir().expect("a folder");
        std::fs::write(state.path().join("machine-id"), "x").expect("written");
        assert!(matches!(
            load(state.path()),
            Err(IdentityError::Content { .. })
        ));
    }
}
