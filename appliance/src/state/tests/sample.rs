//! Records and commands to test with. Ids are numbers in disguise.

use ashlar_api::image::{ImageFormat, ImageSource, ImageSpec};
use ashlar_api::job::Verb;
use ashlar_api::network::{NetworkMode, NetworkSpec};
use ashlar_api::node::NodeSpec;
use ashlar_api::pool::PoolSpec;
use ashlar_api::site::SiteSpec;
use ashlar_api::user::{Role, TokenSpec, UserSpec};
use ashlar_api::vm::{Mac, RunPolicy, VmDisk, VmNic, VmSpec};
use ashlar_api::volume::VolumeSpec;
use ashlar_api::{Bytes, ImageId, NetworkId, PoolId, Timestamp, VolumeId};
use uuid::Uuid;

use crate::state::command::{Command, NewJob, Outcome};
use crate::state::schema::*;

pub fn id<T: From<Uuid>>(number: u64) -> T {
    T::from(Uuid::from_u128(
        0x0192_f0c1_2d3e_7a4b << 64 | u128::from(number),
    ))
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("in range")
}

pub fn job(number: u64, verb: Verb) -> NewJob {
    NewJob {
        id: id(number),
        verb,
    }
}

pub fn node(number: u64, name: &str) -> NodeRecord {
    NodeRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        spec: NodeSpec {
            name: name.parse().expect("a name"),
            management: Default::default(),
        },
        unconfirmed: None,
    }
}

pub fn site_spec(name: &str) -> SiteSpec {
    SiteSpec {
        name: name.parse().expect("a name"),
        description: String::new(),
        time_zone: "Europe/Berlin".to_owned(),
        ntp_servers: Vec::new(),
    }
}

pub fn user(number: u64, name: &str, role: Role) -> UserRecord {
    UserRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        spec: UserSpec {
            name: name.parse().expect("a name"),
            full_name: String::new(),
            role,
        },
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned(),
    }
}

pub fn token(number: u64, owner: u64, role: Role) -> TokenRecord {
    TokenRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        user: id(owner),
        spec: TokenSpec {
            name: format!("token-{number}").parse().expect("a name"),
            role,
            expires_at: None,
        },
        secret_hash: format!("{number:064x}"),
    }
}

pub fn session(number: u64, owner: u64, from: i64, until: i64) -> SessionRecord {
    SessionRecord {
        id: id(number),
        revision: 0,
        created_at: at(from),
        expires_at: at(until),
        user: id(owner),
        secret_hash: format!("{number:064x}"),
        csrf_token: "guard".to_owned(),
        address: "192.0.2.7".to_owned(),
        agent: "a browser".to_owned(),
    }
}

pub fn network(number: u64, name: &str, mode: NetworkMode) -> NetworkRecord {
    NetworkRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        deleting: false,
        spec: NetworkSpec {
            name: name.parse().expect("a name"),
            description: String::new(),
            mode,
        },
    }
}

pub fn nat(subnet: &str) -> NetworkMode {
    NetworkMode::Nat {
        subnet: subnet.parse().expect("a network"),
    }
}

pub fn pool(number: u64, name: &str, drives: &[&str]) -> PoolRecord {
    PoolRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        phase: Phase::Preparing,
        spec: PoolSpec {
            name: name.parse().expect("a name"),
            drives: drives.iter().map(|drive| (*drive).to_owned()).collect(),
        },
        erase: drives.iter().map(|drive| (*drive).to_owned()).collect(),
        library: false,
    }
}

pub fn volume(number: u64, name: &str, pool: u64, size: Bytes, image: Option<u64>) -> VolumeRecord {
    VolumeRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        phase: Phase::Preparing,
        spec: VolumeSpec {
            name: name.parse().expect("a name"),
            description: String::new(),
            pool: id::<PoolId>(pool),
            size,
            image: image.map(id::<ImageId>),
        },
    }
}

pub fn image(number: u64, name: &str) -> ImageRecord {
    ImageRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        phase: Phase::Preparing,
        spec: ImageSpec {
            name: name.parse().expect("a name"),
            description: String::new(),
            source: ImageSource::Upload {
                size: Bytes::mib(300),
            },
            sha256: None,
        },
        content: None,
    }
}

pub fn content(format: ImageFormat, virtual_size: Bytes) -> ImageContent {
    ImageContent {
        format,
        size: Bytes::mib(300),
        virtual_size,
        sha256: "5e".repeat(32),
    }
}

pub fn vm(
    number: u64,
    name: &str,
    policy: RunPolicy,
    volumes: &[u64],
    nics: &[(u64, u8)],
) -> VmRecord {
    let disk = |volume: &u64| VmDisk::Volume {
        volume: id::<VolumeId>(*volume),
    };
    let nic = |(network, mac): &(u64, u8)| VmNic {
        network: id::<NetworkId>(*network),
        mac: Some(Mac([0x52, 0x54, 0, 0, 0, *mac])),
    };
    VmRecord {
        id: id(number),
        revision: 0,
        created_at: at(0),
        deleting: false,
        delete_volumes: Vec::new(),
        spec: VmSpec {
            name: name.parse().expect("a name"),
            description: String::new(),
            cpus: 2,
            memory: Bytes::gib(2),
            run_policy: policy,
            disks: volumes.iter().map(disk).collect(),
            cdrom: None,
            nics: nics.iter().map(nic).collect(),
            cloud_init: None,
            protected: false,
        },
        power: Power::default(),
        uid: 0,
    }
}

/// What a claimed node with a pool, an image, a CD, a network and a volume went through.
pub fn furnished() -> Vec<Command> {
    vec![
        Command::RegisterNode {
            node: Box::new(node(1, "node-1")),
        },
        Command::Claim {
            site: site_spec("home"),
            node: id(1),
            node_spec: node(1, "ashlar-1").spec,
            user: Box::new(user(2, "admin", Role::Administrator)),
        },
        Command::CreatePool {
            pool: Box::new(pool(3, "tank", &["drive-a", "drive-b"])),
            job: job(100, Verb::Create),
        },
        Command::SettlePool {
            id: id(3),
            outcome: Outcome::Done,
        },
        Command::CreateImage {
            image: Box::new(image(4, "debian-13")),
            job: job(101, Verb::Upload),
        },
        Command::SettleImage {
            id: id(4),
            outcome: Outcome::Done,
            content: Some(content(ImageFormat::Qcow2, Bytes::gib(3))),
        },
        Command::CreateImage {
            image: Box::new(image(5, "netinst")),
            job: job(102, Verb::Upload),
        },
        Command::SettleImage {
            id: id(5),
            outcome: Outcome::Done,
            content: Some(content(ImageFormat::Iso, Bytes::mib(700))),
        },
        Command::CreateNetwork {
            network: Box::new(network(6, "lab", nat("10.77.0.0/24"))),
        },
        Command::CreateVolume {
            volume: Box::new(volume(7, "data", 3, Bytes::gib(10), None)),
            job: job(103, Verb::Create),
        },
        Command::SettleVolume {
            id: id(7),
            outcome: Outcome::Done,
        },
    ]
}
