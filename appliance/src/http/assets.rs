//! The console, as files inside the program.
//!
//! `web/dist` is embedded when the binary is built. Where it is absent (the
//! program alone was built), a page says how to build the console. Names of
//! files that never change their content carry a hash of it, so browsers keep
//! them for ever; `index.html` is asked for each time and is small. Files that
//! lie there compressed too (`.br`, `.gz`) are sent so to whoever takes it.
//!
//! Every address that is no file is the console's own: it gets `index.html`,
//! and the console shows its page for it, or says that there is none.

use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Header};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::EmbeddedFile;

use super::Shared;
use super::error::{Answer, Failure};

/// Gives the file of the console at a path, such as `index.html`.
pub type Console = fn(&str) -> Option<EmbeddedFile>;

const UNBUILT: &str = include_str!("unbuilt.html");
const INDEX: &str = "index.html";
/// A year, which is as good as for ever.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Answers everything outside the API.
pub async fn serve(request: HttpRequest, shared: Data<Shared>) -> Answer {
    from(shared.app.console, &request)
}

fn from(console: Console, request: &HttpRequest) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Failure::method_not_allowed(&[Method::GET, Method::HEAD]));
    }
    let path = request.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Err(super::auth::nothing_here());
    }
    if let Some(answer) = file(console, request, path) {
        return Ok(answer);
    }
    // A file that is missing is an error; an address of the console has no ending.
    let last = path.rsplit('/').next().unwrap_or_default();
    if last.contains('.') {
        return Err(super::auth::nothing_here());
    }
    Ok(file(console, request, INDEX).unwrap_or_else(|| page(UNBUILT)))
}

fn page(text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text)
}

fn file(console: Console, request: &HttpRequest, path: &str) -> Option<HttpResponse> {
    if path.is_empty() || path.ends_with(".br") || path.ends_with(".gz") {
        return None;
    }
    let (file, encoding) = smallest(console, request, path, console(path)?);
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..12]));
    let cache = if is_hashed(path) { FOREVER } else { "no-cache" };
    let known = request.headers().get(header::IF_NONE_MATCH);
    let known = known.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let fresh = known
        .split(',')
        .any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut answer = HttpResponse::build(if fresh {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    });
    answer
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::VARY, "Accept-Encoding"));
    if fresh {
        return Some(answer.finish());
    }
    answer.insert_header((header::CONTENT_TYPE, kind(path)));
    if let Some(encoding) = encoding {
        answer.insert_header(encoding);
    }
    Some(answer.body(match file.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    }))
}

/// The compressed twin that the client takes best, else the file itself.
fn smallest(
    console: Console,
    request: &HttpRequest,
    path: &str,
    plain: EmbeddedFile,
) -> (EmbeddedFile, Option<ContentEncoding>) {
    let mut offered = vec![header::Encoding::identity()];
    let twins = [
        ("br", ContentEncoding::Brotli, header::Encoding::brotli()),
        ("gz", ContentEncoding::Gzip, header::Encoding::gzip()),
    ];
    let twins: Vec<_> = twins
        .into_iter()
        .filter_map(|(end, encoding, offer)| {
            Some((console(&format!("{path}.{end}"))?, encoding, offer))
        })
        .collect();
    // The order is ours: the smallest first, where the client does not care.
    for (_, _, offer) in twins.iter().rev() {
        offered.insert(0, offer.clone());
    }
    let chosen = AcceptEncoding::parse(request)
        .ok()
        .and_then(|accept| accept.negotiate(offered.iter()));
    for (file, encoding, offer) in twins {
        if chosen.as_ref() == Some(&offer) {
            return (file, Some(encoding));
        }
    }
    (plain, None)
}

/// Whether a name carries a hash of its content, as `app-3f9a1c7e22.js`: what
/// follows the last dash has at least eight hexadecimal digits, and only those.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    stem.rsplit_once('-')
        .is_some_and(|(_, hash)| hash.len() >= 8 && hash.chars().all(|c| c.is_ascii_hexdigit()))
}

fn kind(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    if guess.type_() == "text" || guess.essence_str().ends_with("javascript") {
        format!("{}; charset=utf-8", guess.essence_str())
    } else {
        guess.essence_str().to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError;
    use actix_web::test::TestRequest;

    #[test]
    fn names_with_a_hash_are_kept_for_ever() {
        for path in [
            "app-3f9a1c7e22.js",
            "app-3f9a1c7e22_bg.wasm".trim_end_matches("_bg.wasm"),
            "fonts/inter-0123456789abcdef.woff2",
        ] {
            assert!(is_hashed(path), "{path}");
        }
        for path in [
            "index.html",
            "app.js",
            "favicon-32.png",
            "sign-in.js",
            "a-deadbee.js",
        ] {
            assert!(!is_hashed(path), "{path}");
        }
        assert_eq!(kind("a.js"), "text/javascript; charset=utf-8");
        assert_eq!(kind("a.wasm"), "application/wasm");
        assert_eq!(kind("a"), "application/octet-stream");
    }

    /// No console was built.
    fn unbuilt(_: &str) -> Option<EmbeddedFile> {
        None
    }

    #[test]
    fn addresses_of_the_console_get_its_page() {
        for path in ["/", "/vms", "/vms/7/console", "/setup"] {
            let answer = from(unbuilt, &TestRequest::with_uri(path).to_http_request()).unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(
                answer.headers().get(header::CONTENT_TYPE).unwrap(),
                "text/html; charset=utf-8"
            );
            assert_eq!(
                answer.headers().get(header::CACHE_CONTROL).unwrap(),
                "no-cache"
            );
        }
        for path in [
            "/missing.js",
            "/../etc/passwd.txt",
            "/api/v2/x",
            "/api",
            "/a/b.css",
        ] {
            let refused =
                from(unbuilt, &TestRequest::with_uri(path).to_http_request()).unwrap_err();
            assert_eq!(refused.error_response().status(), 404, "{path}");
        }
        let post = TestRequest::post().uri("/vms").to_http_request();
        let refused = from(unbuilt, &post).unwrap_err();
        assert_eq!(refused.error_response().status(), 405);
    }
}
