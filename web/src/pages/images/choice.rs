//! Images as choices, for what is filled or installed from one.

use ashlar_api::image::{Image, ImageFormat, ImagePhase};
use ashlar_api::{Bytes, ImageId};
use leptos::prelude::*;

use crate::components::{Reader, SelectField};
use crate::format;
use crate::live::Live;
use crate::words;

/// Images that can be used now: CDs, or disks.
pub fn usable(live: Live, cds: bool) -> Vec<Image> {
    let mut images = live.images.all();
    images.retain(|image| {
        !image.deleting
            && image.status.phase == ImagePhase::Ready
            && (image.status.format == Some(ImageFormat::Iso)) == cds
    });
    images
}

/// Keys and words of images, after what is said when none is chosen.
pub fn options(images: Vec<Image>, none: &str) -> Vec<(String, String)> {
    std::iter::once((String::new(), none.to_owned()))
        .chain(images.into_iter().map(|image| {
            let kind = image.status.format.map_or("", words::image_format);
            let words = format!(
                "{} · {kind} · {}",
                image.spec.name,
                format::bytes(image.status.size)
            );
            (image.id.to_string(), words)
        }))
        .collect()
}

/// What is wrong with a disk too small for its image.
pub fn too_small(size: Bytes, least: Bytes) -> Option<String> {
    (size < least).then(|| format!("at least {least}, which the image needs"))
}

/// The image that a new disk is filled from, as it is chosen; none at first.
#[derive(Clone, Copy)]
pub struct Filling {
    image: RwSignal<String>,
    // The smallest disk that the chosen image fits on.
    least: Memo<Bytes>,
}

impl Filling {
    /// A `size` that is too small grows with the choice; a larger one stays.
    pub fn new(live: Live, size: RwSignal<String>) -> Self {
        live.images.want();
        let image = RwSignal::new(String::new());
        let least = Memo::new(move |_| {
            live.images
                .one(&image.get())
                .map_or(Bytes(0), |image| image.status.virtual_size)
        });
        Effect::new(move |_| {
            let least = least.get();
            let typed = size.with_untracked(|size| size.trim().parse::<Bytes>());
            if typed.is_ok_and(|size| size < least) {
                size.set(least.round_up(Bytes::GIB).to_string());
            }
        });
        Filling { image, least }
    }

    /// Reads what is chosen; `prefix` says where in the request the disk stands,
    /// such as `disks[0].`.
    pub fn read(
        self,
        reader: &mut Reader,
        prefix: &str,
        size: Option<Bytes>,
    ) -> Option<Option<ImageId>> {
        if let Some(wrong) = size.and_then(|size| too_small(size, self.least.get())) {
            reader.note(&format!("{prefix}size"), wrong);
        }
        match self.image.get().as_str() {
            "" => Some(None),
            id => reader
                .parse_or(&format!("{prefix}image"), id, "choose an image")
                .map(Some),
        }
    }

    /// What stands under the size.
    pub fn hint(self, without: &'static str) -> Signal<String> {
        Signal::derive(move || match self.least.get() {
            Bytes(0) => without.to_owned(),
            least => format!("The image needs at least {least}. It can grow later."),
        })
    }
}

/// From what a new disk is filled.
#[component]
pub fn FilledFrom(
    /// What is chosen.
    filling: Filling,
    /// Where in the request the disk stands, as in [`Filling::read`].
    #[prop(optional, into)]
    prefix: String,
) -> impl IntoView {
    let live = Live::get();
    view! {
        <SelectField
            label="Filled from"
            value=filling.image
            path=format!("{prefix}image")
            options=Signal::derive(move || options(usable(live, false), "Nothing: it is empty"))
            hint="An image is copied onto it once."
        />
    }
}

#[cfg(test)]
mod tests {
    use super::too_small;
    use ashlar_api::Bytes;

    #[test]
    fn disks_hold_their_image() {
        assert_eq!(too_small(Bytes::gib(2), Bytes::gib(2)), None);
        assert_eq!(too_small(Bytes::gib(2), Bytes(0)), None);
        assert_eq!(
            too_small(Bytes::gib(2), Bytes::gib(3)).as_deref(),
            Some("at least 3 GiB, which the image needs")
        );
    }
}
