//! Who may do what: the one table of it.
//!
//! A request is allowed only if a line here says so; an address that is missing
//! here is refused even if something would answer it. The pattern is compared
//! with the very path the router reads (decoded once), and the handler's side
//! compares again ([`super::auth::Caller`]): two readings of one address cannot
//! open a way past the table.

use actix_web::http::Method;
use ashlar_api::user::Role;
use ashlar_api::vm::VmAction;

/// Who may use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, signed in or not.
    Open,
    /// Whoever has at least this role.
    Role(Role),
}

/// One line of the table.
#[derive(Debug)]
pub struct Rule {
    /// The method.
    pub method: Method,
    /// The address below `/api/v1`; a part in braces stands for any one part, but `{action}` for a verb only.
    pub pattern: &'static str,
    /// Who may.
    pub access: Access,
}

/// What the table says of a request.
#[derive(Debug, PartialEq)]
pub enum Verdict<'a> {
    /// The line that allows it, to those it names.
    Rule(&'a Rule),
    /// The address is there, for these methods only.
    Methods(Vec<Method>),
    /// There is no such address.
    Nothing,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.method == other.method && self.pattern == other.pattern
    }
}

macro_rules! rules {
    ($($method:ident $pattern:literal $access:ident;)*) => {
        &[$(Rule { method: Method::$method, pattern: $pattern, access: rules!(@ $access) },)*]
    };
    (@ open) => { Access::Open };
    (@ viewer) => { Access::Role(Role::Viewer) };
    (@ operator) => { Access::Role(Role::Operator) };
    (@ administrator) => { Access::Role(Role::Administrator) };
}

/// The table.
pub const RULES: &[Rule] = rules! {
    GET    "/health" open;
    GET    "/openapi.json" open;
    POST   "/claim" open;
    POST   "/claim/check" open;
    POST   "/session" open;

    GET    "/session" viewer;
    DELETE "/session" viewer;
    GET    "/sessions" viewer;
    DELETE "/sessions/{id}" viewer;
    GET    "/tokens" viewer;
    POST   "/tokens" viewer;
    GET    "/tokens/{id}" viewer;
    DELETE "/tokens/{id}" viewer;
    GET    "/users" viewer;
    POST   "/users" administrator;
    GET    "/users/{id}" viewer;
    PUT    "/users/{id}" administrator;
    DELETE "/users/{id}" administrator;
    POST   "/users/{id}/password" viewer;

    GET    "/site" viewer;
    PUT    "/site" administrator;
    GET    "/certificate" viewer;
    PUT    "/certificate" administrator;
    POST   "/certificate/renew" administrator;

    GET    "/nodes" viewer;
    GET    "/nodes/{id}" viewer;
    PUT    "/nodes/{id}" administrator;
    GET    "/nodes/{id}/metrics" viewer;
    GET    "/nodes/{id}/log" operator;
    POST   "/nodes/{id}/confirm" administrator;
    POST   "/nodes/{id}/restart" administrator;
    POST   "/nodes/{id}/power-off" administrator;
    POST   "/nodes/{id}/restart-supervisor" administrator;
    GET    "/update" viewer;
    PUT    "/update/bundle" administrator;
    POST   "/update/fetch" administrator;
    POST   "/update/apply" administrator;
    POST   "/update/remove" administrator;
    GET    "/metrics" viewer;
    POST   "/sizing" viewer;
    GET    "/links" viewer;
    GET    "/drives" viewer;
    GET    "/services" viewer;
    GET    "/hardware" viewer;
    POST   "/hardware/check" operator;
    POST   "/hardware/{check}/override" administrator;
    POST   "/hardware/{check}/withdraw" administrator;

    GET    "/pools" viewer;
    POST   "/pools" administrator;
    GET    "/pools/{id}" viewer;
    DELETE "/pools/{id}" administrator;
    GET    "/volumes" viewer;
    POST   "/volumes" administrator;
    GET    "/volumes/{id}" viewer;
    PUT    "/volumes/{id}" administrator;
    DELETE "/volumes/{id}" administrator;
    GET    "/images" viewer;
    POST   "/images" administrator;
    GET    "/images/{id}" viewer;
    PUT    "/images/{id}" administrator;
    DELETE "/images/{id}" administrator;
    PUT    "/images/{id}/content" administrator;
    HEAD   "/images/{id}/content" administrator;
    GET    "/networks" viewer;
    POST   "/networks" administrator;
    GET    "/networks/{id}" viewer;
    PUT    "/networks/{id}" administrator;
    DELETE "/networks/{id}" administrator;

    GET    "/vms" viewer;
    POST   "/vms" administrator;
    GET    "/vms/{id}" viewer;
    PUT    "/vms/{id}" administrator;
    DELETE "/vms/{id}" administrator;
    GET    "/vms/{id}/metrics" viewer;
    GET    "/vms/{id}/screenshot" operator;
    GET    "/vms/{id}/vnc" operator;
    GET    "/vms/{id}/serial" operator;
    POST   "/vms/{id}/{action}" operator;

    GET    "/jobs" viewer;
    GET    "/jobs/{id}" viewer;
    POST   "/jobs/{id}/cancel" administrator;
    GET    "/faults" viewer;
    GET    "/history" viewer;
    GET    "/events" viewer;
};

/// What the table says of `method` on `path` (the whole path, decoded).
pub fn find<'a>(method: &Method, path: &str) -> Verdict<'a> {
    let Some(path) = path.strip_prefix(ashlar_api::endpoint::BASE) else {
        return Verdict::Nothing;
    };
    let mut methods = Vec::new();
    for rule in RULES.iter().filter(|rule| matches(rule.pattern, path)) {
        if rule.method == *method {
            return Verdict::Rule(rule);
        }
        methods.push(rule.method.clone());
    }
    if methods.is_empty() {
        Verdict::Nothing
    } else {
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        Verdict::Methods(methods)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let all = pattern.split('/').all(|wanted| {
        parts.next().is_some_and(|part| match wanted {
            "{action}" => VmAction::ALL.iter().any(|action| action.verb() == part),
            _ if wanted.starts_with('{') => !part.is_empty(),
            _ => part == wanted,
        })
    });
    all && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_not_allowed() {
        let pattern = |method: Method, path: &str| match find(&method, path) {
            Verdict::Rule(rule) => rule.pattern,
            _ => "",
        };
        assert_eq!(pattern(Method::GET, "/api/v1/vms"), "/vms");
        assert_eq!(pattern(Method::GET, "/api/v1/vms/x"), "/vms/{id}");
        assert_eq!(
            pattern(Method::POST, "/api/v1/vms/x/start"),
            "/vms/{id}/{action}"
        );
        for path in [
            "/api/v1",
            "/api/v1/",
            "/api/v1/vms/",
            "/api/v1//vms",
            "/api/v1/vms/x/y",
            "/api/v1/vms/x/y/z",
            "/api/v2/vms",
            "/vms",
            "",
            "/api/v1/VMS",
        ] {
            assert_eq!(find(&Method::GET, path), Verdict::Nothing, "{path}");
        }
        assert_eq!(
            find(&Method::PATCH, "/api/v1/vms"),
            Verdict::Methods(vec![Method::GET, Method::POST])
        );
        assert_eq!(
            find(&Method::POST, "/api/v1/vms/x/metrics"),
            Verdict::Methods(vec![Method::GET])
        );
    }

    #[test]
    fn no_two_lines_speak_of_one_request() {
        for (n, one) in RULES.iter().enumerate() {
            for other in &RULES[n + 1..] {
                let overlap = one.method == other.method
                    && one.pattern.split('/').count() == other.pattern.split('/').count()
                    && one
                        .pattern
                        .split('/')
                        .zip(other.pattern.split('/'))
                        .all(|(a, b)| a == b || a.starts_with('{') || b.starts_with('{'));
                assert!(!overlap, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn only_what_must_be_is_open() {
        let open: Vec<_> = RULES
            .iter()
            .filter(|rule| rule.access == Access::Open)
            .map(|rule| rule.pattern)
            .collect();
        assert_eq!(
            open,
            [
                "/health",
                "/openapi.json",
                "/claim",
                "/claim/check",
                "/session"
            ]
        );
    }
}
