//! The certificate with which the appliance proves itself: what it says, making
//! it anew, and putting one in its place that an authority signed.

use ashlar_api::certificate::{Certificate, CertificateReplace};
use ashlar_api::error::Problem;
use ashlar_api::user::Role;
use ashlar_api::{Check, endpoint};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::address;
use crate::client;
use crate::components::notice::sentence;
use crate::components::{
    AreaField, Bone, Button, Confirm, Copy, Dialog, Fact, Facts, Form, Icon, Look, Notice, Pill,
    Toasts, Tone, Trouble, Work,
};
use crate::format::capital;
use crate::live::Live;
use crate::session::Sessions;
use crate::time::{self, Clock};

/// So long before its end a certificate is told to be near it.
const SOON_S: i64 = 30 * 86_400;

#[derive(Clone, Copy)]
struct Reading {
    certificate: RwSignal<Option<Certificate>>,
    problem: RwSignal<Option<Problem>>,
}

impl Reading {
    fn again(self) {
        self.problem.set(None);
        spawn_local(async move {
            // The page may be gone when the answer comes.
            match client::get::<Certificate>(endpoint::CERTIFICATE).await {
                Ok(certificate) => {
                    let _ = self.certificate.try_set(Some(certificate));
                }
                Err(failure) => {
                    let _ = self.problem.try_set(Some(failure.problem()));
                }
            }
        });
    }
}

/// The certificate.
#[component]
pub fn CertificateSettings() -> impl IntoView {
    let live = Live::get();
    let reading = Reading {
        certificate: RwSignal::new(None),
        problem: RwSignal::new(None),
    };
    let fingerprint = Memo::new(move |_| {
        live.site.with(|site| {
            site.as_ref()
                .map(|site| site.status.certificate_fingerprint.clone())
        })
    });
    // Another fingerprint means another certificate, whoever put it there.
    Effect::new(move |_| {
        fingerprint.track();
        reading.again();
    });
    let renewing = address::flag("do", "renew");
    let replacing = address::flag("do", "replace");
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    view! {
        <div class="card stack">
            <h2>"Certificate in use"</h2>
            {move || match (reading.certificate.get(), reading.problem.get()) {
                (Some(certificate), _) => view! { <InUse certificate /> }.into_any(),
                (None, Some(problem)) => {
                    view! {
                        <Notice
                            tone=Tone::Bad
                            title=capital(&problem.title)
                            text=sentence(&[&problem.detail, &problem.remedy])
                        >
                            <Button
                                label="Try again"
                                small=true
                                on_press=move |()| reading.again()
                            />
                        </Notice>
                    }
                        .into_any()
                }
                (None, None) => view! { <Bone width="100%" height="180px" /> }.into_any(),
            }}
            <Show when=move || may.get()>
                <div class="actions">
                    <Button
                        label="Replace"
                        icon=Icon::Upload
                        on_press=move |()| replacing.set(true)
                    />
                    <Button
                        label="Make a new one"
                        icon=Icon::Restart
                        on_press=move |()| renewing.set(true)
                    />
                </div>
            </Show>
        </div>
        <Renew open=renewing reading />
        <Dialog open=replacing title="Replace the certificate" large=true>
            <Replace close=replacing reading />
        </Dialog>
    }
}

#[component]
fn InUse(certificate: Certificate) -> impl IntoView {
    let clock = Clock::get();
    let left = -time::since(certificate.not_after);
    let early = -time::since(certificate.not_before);
    let (tone, word) = match (early > 0, left) {
        (true, _) => (Tone::Bad, "Not valid yet"),
        (_, ..=0) => (Tone::Bad, "Has ended"),
        (_, ..=SOON_S) => (Tone::Warn, "Ends soon"),
        _ => (Tone::Ok, "Valid"),
    };
    let signer = if certificate.self_signed {
        "this appliance itself".to_owned()
    } else {
        certificate.issuer
    };
    view! {
        {certificate
            .self_signed
            .then(|| {
                view! {
                    <p class="dim small">
                        "The appliance signed it itself, so browsers warn until they are told to trust it. Compare the fingerprint with the one on the screen of the machine."
                    </p>
                }
            })}
        <Facts>
            <Fact name="State">
                <Pill tone word />
            </Fact>
            <Fact name="For">{certificate.names.join(", ")}</Fact>
            <Fact name="Signed by">{signer}</Fact>
            <Fact name="Valid from">{move || clock.exact(certificate.not_before)}</Fact>
            <Fact name="Until">{move || clock.exact(certificate.not_after)}</Fact>
            <Fact name="SHA-256">
                <span class="fingerprint">{certificate.fingerprint.clone()}</span>
                " "
                <Copy text=certificate.fingerprint label="the fingerprint" />
            </Fact>
        </Facts>
    }
}

#[component]
fn Renew(open: RwSignal<bool>, reading: Reading) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let go = move |()| {
        let path = format!("{}/renew", endpoint::CERTIFICATE);
        let request = async move { client::verb(&path).await };
        work.run(request, move |()| {
            open.set(false);
            toasts.done("The appliance has a new certificate");
            live.read_site();
            reading.again();
        });
    };
    view! {
        <Confirm
            open
            title="Make a new certificate"
            text="The appliance makes and signs one for the name and the addresses it has now. Browsers and programs that trusted the old one must be told to trust the new one."
            verb="Make a new one"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(go)
        />
    }
}

#[component]
fn Replace(close: RwSignal<bool>, reading: Reading) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let certificate = RwSignal::new(String::new());
    let key = RwSignal::new(String::new());
    let request = move || CertificateReplace {
        certificate: certificate.get(),
        key: key.get(),
    };
    let form = Form::provide(move || request().check().err().unwrap_or_default());
    let send = move || {
        let sent = untrack(request);
        let answer = async move { client::put(endpoint::CERTIFICATE, None, &sent).await };
        form.send(answer, move |()| {
            close.set(false);
            toasts.done("The certificate is replaced");
            live.read_site();
            reading.again();
        });
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <AreaField
                    label="Certificate"
                    value=certificate
                    path="certificate"
                    placeholder="-----BEGIN CERTIFICATE-----"
                    hint="In PEM form: the appliance's own first, then those that lead to its authority."
                    code=true
                />
                <AreaField
                    label="Private key"
                    value=key
                    path="key"
                    placeholder="-----BEGIN PRIVATE KEY-----"
                    hint="In PEM form, without a passphrase. It stays on the appliance and is never shown."
                    code=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Replace" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}
