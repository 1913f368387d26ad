//! The addresses of the API, said once for both ends.

/// Where every address begins.
pub const BASE: &str = "/api/v1";

macro_rules! endpoints {
    ($($(#[$meta:meta])* $name:ident = $path:literal;)*) => {
        $($(#[$meta])* pub const $name: &str = concat!("/api/v1", $path);)*
    };
}

endpoints! {
    /// State and version, for anybody.
    HEALTH = "/health";
    /// Becoming the owner: `POST`; `POST …/check` tries a code.
    CLAIM = "/claim";
    /// Signing in (`POST`), who is signed in (`GET`), signing out (`DELETE`).
    SESSION = "/session";
    /// All sessions: list, revoke.
    SESSIONS = "/sessions";
    /// The site: read, replace.
    SITE = "/site";
    /// The certificate: read, replace; `POST …/renew` makes a new one of the appliance's own.
    CERTIFICATE = "/certificate";
    /// Nodes: list, read, replace; `…/{id}/metrics`, `…/{id}/confirm`, `…/{id}/restart`, `…/{id}/power-off`, `…/{id}/restart-supervisor`.
    NODES = "/nodes";
    /// The newest load as text, for Prometheus.
    METRICS = "/metrics";
    /// The releases of the node: read; `PUT …/bundle` sends one, `…/fetch`, `…/apply`, `…/remove`.
    UPDATE = "/update";
    /// Interfaces of the nodes.
    LINKS = "/links";
    /// Drives of the nodes.
    DRIVES = "/drives";
    /// The hardware of the node, as it was checked last; `POST …/check` checks it now, `…/{check}/override`, `…/{check}/withdraw`.
    HARDWARE = "/hardware";
    /// Programs that the supervisor runs.
    SERVICES = "/services";
    /// Storage pools.
    POOLS = "/pools";
    /// Volumes.
    VOLUMES = "/volumes";
    /// Images; `PUT …/{id}/content` with `Content-Range` sends bytes, `HEAD …/{id}/content` says how many are held.
    IMAGES = "/images";
    /// Networks.
    NETWORKS = "/networks";
    /// Virtual machines; `DELETE …/{id}?volumes=all` (or ids with commas) takes volumes along; `…/{id}/<verb>`, `…/{id}/metrics`, `…/{id}/screenshot`; WebSockets `…/{id}/vnc` and `…/{id}/serial`.
    VMS = "/vms";
    /// Jobs: list, read; `…/{id}/cancel`.
    JOBS = "/jobs";
    /// What planned nodes and drives come to: `POST`; nothing is changed.
    SIZING = "/sizing";
    /// Users; `…/{id}/password`.
    USERS = "/users";
    /// API tokens.
    TOKENS = "/tokens";
    /// What is wrong now.
    FAULTS = "/faults";
    /// What happened: a list, newest first.
    HISTORY = "/history";
    /// What is happening: server-sent events.
    EVENTS = "/events";
    /// The OpenAPI document.
    OPENAPI = "/openapi.json";
}
