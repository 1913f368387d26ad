//! Writing answers: objects with their ETag, pages, links to jobs.

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, HttpResponseBuilder};
use ashlar_api::{JobId, Page, endpoint};
use serde::Serialize;

/// Says at which offset an upload goes on (as the drafts on resumable uploads do).
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// 200 with something that has no revision.
pub fn ok(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(body)
}

/// 200 with an object.
pub fn object(revision: u64, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(tag(revision)).json(body)
}

/// 201 with a new object, and the jobs that make it.
pub fn created(
    path: &str,
    id: impl std::fmt::Display,
    revision: u64,
    jobs: &[JobId],
    body: &impl Serialize,
) -> HttpResponse {
    let mut answer = HttpResponse::Created();
    answer
        .insert_header((header::LOCATION, format!("{path}/{id}")))
        .insert_header(tag(revision));
    link(&mut answer, jobs);
    answer.json(body)
}

/// 202 with an object for which work goes on, and the jobs that do it.
pub fn accepted(revision: u64, jobs: &[JobId], body: &impl Serialize) -> HttpResponse {
    let mut answer = HttpResponse::Accepted();
    answer.insert_header(tag(revision));
    link(&mut answer, jobs);
    answer.json(body)
}

/// 204: done, and there is nothing to say.
pub fn no_content() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn tag(revision: u64) -> (HeaderName, String) {
    (header::ETAG, format!("\"{revision}\""))
}

fn link(answer: &mut HttpResponseBuilder, jobs: &[JobId]) {
    if !jobs.is_empty() {
        let links: Vec<String> = jobs
            .iter()
            .map(|job| format!("<{}/{job}>; rel=\"job\"", endpoint::JOBS))
            .collect();
        answer.insert_header((header::LINK, links.join(", ")));
    }
}

/// A page of things that are seen and not stored, in the order given: `name` is
/// what the filter looks at, `key` what tells one from another.
pub fn page_of<T>(
    items: Vec<T>,
    query: &super::request::ListQuery,
    key: impl Fn(&T) -> String,
    name: impl Fn(&T) -> String,
) -> super::error::Answer<Page<T>> {
    let limit = super::request::limit(query.limit)?;
    let wanted = query.name.as_deref().unwrap_or_default().to_lowercase();
    let matching: Vec<T> = items
        .into_iter()
        .filter(|item| wanted.is_empty() || name(item).to_lowercase().contains(&wanted))
        .collect();
    let total = matching.len();
    let start = match &query.after {
        None => 0,
        // An item that is gone ends the list rather than beginning it again.
        Some(after) => matching
            .iter()
            .position(|item| key(item) == *after)
            .map_or(total, |at| at + 1),
    };
    let more = total > start + limit;
    let items: Vec<T> = matching.into_iter().skip(start).take(limit).collect();
    let next = items.last().map(&key).filter(|_| more);
    Ok(Page { items, total, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::ListQuery;

    #[test]
    fn pages_follow_one_another() {
        let items = || (0..250).map(|n| format!("eth{n:03}")).collect::<Vec<_>>();
        let mut query = ListQuery::default();
        let mut seen = Vec::new();
        loop {
            let page = page_of(items(), &query, Clone::clone, Clone::clone).unwrap();
            assert_eq!(page.total, 250);
            seen.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, items());
        let named = ListQuery {
            name: Some("ETH24".into()),
            ..ListQuery::default()
        };
        assert_eq!(
            page_of(items(), &named, Clone::clone, Clone::clone)
                .unwrap()
                .total,
            10
        );
        let wrong = ListQuery {
            limit: Some(501),
            ..ListQuery::default()
        };
        assert!(page_of(items(), &wrong, Clone::clone, Clone::clone).is_err());
    }

    #[test]
    fn jobs_are_linked() {
        let id: JobId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d".parse().unwrap();
        let answer = created("/api/v1/vms", "7", 3, &[id, id], &());
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers().get(header::ETAG).unwrap(), "\"3\"");
        assert_eq!(
            answer.headers().get(header::LOCATION).unwrap(),
            "/api/v1/vms/7"
        );
        let link = answer
            .headers()
            .get(header::LINK)
            .unwrap()
            .to_str()
            .unwrap();
        assert_eq!(link.matches("rel=\"job\"").count(), 2);
    }
}
