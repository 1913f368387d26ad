//! Sending image files from the browser, in pieces.
//!
//! The appliance keeps how many bytes it has, so an upload goes on where it
//! stopped: after a lost connection by itself, after a closed browser when the
//! same file is chosen again. While it sends, the console computes the file's
//! SHA-256; what the appliance stored must have the same.
//!
//! An upload lives as long as the shell, not as long as the page that began it.

use ashlar_api::error::{Code, Problem};
use ashlar_api::image::{Image, ImageSource, ImageSpec};
use ashlar_api::{Bytes, endpoint};
use gloo_timers::future::TimeoutFuture;
use js_sys::{ArrayBuffer, Uint8Array};
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;
use sha2::{Digest, Sha256};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Blob, File};

use crate::client::{self, Answer, Failure};
use crate::live::Live;

/// The size of a piece.
const PIECE: u64 = 8 * Bytes::MIB;
/// How often a piece is tried again while the appliance does not answer, and how long between.
const TRIES: u32 = 60;
const WAIT_MS: u32 = 5000;

/// How an upload stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Bytes are on their way.
    Sending,
    /// The appliance does not answer; tried again.
    Waiting,
    /// All bytes are there.
    Sent,
    /// Stopped by the reader.
    Stopped,
    /// Could not be sent.
    Failed(Problem),
}

/// One upload.
#[derive(Clone)]
pub struct Upload {
    /// Id of the image.
    pub image: String,
    /// Bytes that are there.
    pub sent: ArcRwSignal<u64>,
    /// Bytes in all.
    pub size: u64,
    /// How it stands.
    pub stage: ArcRwSignal<Stage>,
    /// SHA-256 of the file, once all of it was read.
    pub sum: ArcRwSignal<Option<String>>,
    abort: Option<AbortController>,
}

/// All uploads of this console.
#[derive(Clone, Copy)]
pub struct Uploads {
    all: RwSignal<Vec<Upload>, LocalStorage>,
    live: Live,
}

impl Uploads {
    /// None yet.
    pub fn new(live: Live) -> Self {
        let uploads = Uploads {
            all: RwSignal::new_local(Vec::new()),
            live,
        };
        // Leaving the page would end what is being sent: the browser asks first.
        let leave = window_event_listener(ev::beforeunload, move |event| {
            if uploads.sending() {
                event.prevent_default();
            }
        });
        on_cleanup(move || {
            leave.remove();
            for upload in uploads.all.try_get_untracked().unwrap_or_default() {
                upload.stop();
            }
        });
        uploads
    }

    /// The uploads, from any component of the shell.
    pub fn get() -> Self {
        expect_context()
    }

    /// The upload that fills an image, if this console sends it.
    pub fn of(self, image: &str) -> Option<Upload> {
        self.all
            .with(|all| all.iter().find(|upload| upload.image == image).cloned())
    }

    /// Makes an image and begins to send its file.
    pub async fn begin(self, file: File, mut spec: ImageSpec) -> Answer<Image> {
        spec.source = ImageSource::Upload {
            size: Bytes(size_of(&file)),
        };
        let image: Image = client::post(endpoint::IMAGES, &spec).await?;
        self.live.images.put(image.clone());
        self.go_on(file, &image);
        Ok(image)
    }

    /// Sends the rest of a file whose beginning the appliance has.
    pub fn go_on(self, file: File, image: &Image) {
        let upload = Upload {
            image: image.id.to_string(),
            sent: ArcRwSignal::new(image.status.received.0),
            size: size_of(&file),
            stage: ArcRwSignal::new(Stage::Sending),
            sum: ArcRwSignal::new(None),
            abort: AbortController::new().ok(),
        };
        self.all.update(|all| {
            all.retain(|other| other.image != upload.image);
            all.push(upload.clone());
        });
        spawn_local(async move {
            let stage = match send(&file, &upload).await {
                Ok(()) => Stage::Sent,
                Err(Failure::Aborted) => Stage::Stopped,
                Err(failure) => Stage::Failed(failure.problem()),
            };
            upload.stage.set(stage);
            self.live.images.touch(&upload.image);
        });
    }

    fn sending(self) -> bool {
        self.all.try_with_untracked(|all| {
            all.iter().any(|upload| {
                upload
                    .stage
                    .with_untracked(|stage| matches!(stage, Stage::Sending | Stage::Waiting))
            })
        }) == Some(true)
    }
}

impl Upload {
    /// Stops sending; the appliance keeps what it has.
    pub fn stop(&self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }

    fn stopped(&self) -> bool {
        self.abort
            .as_ref()
            .is_some_and(|abort| abort.signal().aborted())
    }
}

/// The size of a file.
pub fn size_of(file: &File) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a file's size is a whole number below 2^53"
    )]
    let size = file.size() as u64;
    size
}

async fn send(file: &File, upload: &Upload) -> Answer<()> {
    let path = format!("{}/{}/content", endpoint::IMAGES, upload.image);
    let mut hash = Sha256::new();
    let mut hashed = 0;
    let mut at = upload.sent.get_untracked();
    let mut tries = 0;
    while at < upload.size || hashed < upload.size {
        if upload.stopped() {
            return Err(Failure::Aborted);
        }
        // The checksum is of the whole file, also of what was sent earlier.
        let from = hashed.min(at);
        let length = PIECE.min(upload.size - from);
        let piece = slice(file, from, length)?;
        if from == hashed {
            hash.update(&bytes(&piece).await?);
            hashed += length;
        }
        if from != at {
            continue;
        }
        let signal = upload.abort.as_ref().map(AbortController::signal);
        match client::put_piece(&path, &piece, from, length, upload.size, signal.as_ref()).await {
            Ok(()) => {
                tries = 0;
                at += length;
            }
            Err(failure) if worth_another_try(&failure) && tries < TRIES => {
                tries += 1;
                upload.stage.set(Stage::Waiting);
                TimeoutFuture::new(WAIT_MS).await;
                if let Ok(image) =
                    client::get::<Image>(&format!("{}/{}", endpoint::IMAGES, upload.image)).await
                {
                    at = image.status.received.0;
                }
            }
            Err(failure) => return Err(failure),
        }
        upload.stage.set(Stage::Sending);
        upload.sent.set(at);
    }
    let sum: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    upload.sum.set(Some(sum));
    Ok(())
}

fn worth_another_try(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable => true,
        Failure::Refused(problem) => matches!(
            problem.code,
            Code::Unavailable | Code::TimedOut | Code::TooManyRequests
        ),
        Failure::Aborted => false,
    }
}

fn slice(file: &File, from: u64, length: u64) -> Answer<Blob> {
    let blob: &Blob = file;
    // A number in JavaScript is exact up to 2^53, far beyond any file.
    blob.slice_with_f64_and_f64(from as f64, (from + length) as f64)
        .map_err(|_| unreadable())
}

async fn bytes(piece: &Blob) -> Answer<Vec<u8>> {
    let buffer: JsValue = JsFuture::from(piece.array_buffer())
        .await
        .map_err(|_| unreadable())?;
    let buffer: ArrayBuffer = buffer.dyn_into().map_err(|_| unreadable())?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

fn unreadable() -> Failure {
    Failure::Refused(
        Problem::new(Code::Invalid, "The file can not be read any more")
            .remedy("It was moved, changed or removed. Choose it again; what was sent is kept."),
    )
}
