//! Images as choices, for what is filled or installed from one.

use ashlar_api::Bytes;
use ashlar_api::image::{Image, ImageFormat, ImagePhase};

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
