//! The screen as lines, for a serial port: said again only when it changes, so
//! that a captured log tells what happened and a program can read the address.

use ashlar_api::fault::Fault;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::facts::Facts;

/// The lines that somebody at a serial line needs.
pub fn lines(facts: &Facts) -> Vec<String> {
    let mut lines = vec![format!(
        "Ashlar {}  {}  {}",
        facts.version,
        facts.node,
        facts.health()
    )];
    match facts.urls.as_slice() {
        [] => lines.push("Console: no address yet".to_owned()),
        urls => lines.extend(urls.iter().map(|url| format!("Console: {url}"))),
    }
    if !facts.fingerprint.is_empty() {
        lines.push(format!("Certificate: SHA-256 {}", facts.fingerprint));
    }
    if let Some(code) = &facts.claim_code {
        lines.push(format!("Claim code: {code}"));
    }
    lines.extend(facts.faults.iter().flat_map(story));
    lines
}

/// What is wrong, what was seen, and what to do.
pub fn story(fault: &Fault) -> Vec<String> {
    let mut lines = vec![format!("! {}.", fault.title.trim_end_matches('.'))];
    lines.extend(fault.detail.lines().map(|line| format!("  {line}")));
    if !fault.remedy.is_empty() {
        lines.push(format!("  What to do: {}", fault.remedy));
    }
    lines
}

/// The claim address as a picture of half blocks, dark on light.
pub fn picture(facts: &Facts) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(facts.claim_url()?, qrcode::EcLevel::L).ok()?;
    let text = code
        .render::<Dense1x2>()
        .quiet_zone(false)
        .dark_color(Dense1x2::Dark)
        .light_color(Dense1x2::Light)
        .build();
    Some(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong_and_what_to_do() {
        let fault = Fault {
            code: "x".into(),
            severity: ashlar_api::event::Severity::Warning,
            title: "The machine has little memory.".into(),
            detail: "It has 900 MiB.\nThat is all.".into(),
            remedy: "Add memory.".into(),
            subject: None,
            since: ashlar_api::Timestamp::UNIX_EPOCH,
        };
        let said = [
            "! The machine has little memory.",
            "  It has 900 MiB.",
            "  That is all.",
            "  What to do: Add memory.",
        ];
        assert_eq!(story(&fault), said);
        let facts = Facts {
            faults: vec![fault],
            ..Facts::default()
        };
        assert!(lines(&facts).ends_with(&said.map(str::to_owned)));
    }

    #[test]
    fn tells_where_to_go() {
        let mut facts = Facts {
            version: "0.1.0".into(),
            node: "node-1".into(),
            ..Facts::default()
        };
        assert!(lines(&facts).contains(&"Console: no address yet".to_owned()));
        facts.urls = vec!["https://192.0.2.10".into()];
        facts.claim_code = Some("7KXQ-M2PD".into());
        let said = lines(&facts);
        assert!(said.contains(&"Console: https://192.0.2.10".to_owned()));
        assert!(said.contains(&"Claim code: 7KXQ-M2PD".to_owned()));
        let picture = picture(&facts).expect("a claimable appliance has a picture");
        assert!(
            picture.len() <= 17 && picture[0].chars().count() <= 33,
            "fits on 80x25"
        );
    }
}
