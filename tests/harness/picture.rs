//! Pictures as pixels: whether two show the same, and whether one shows anything.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use png::{ColorType, Decoder, Transformations};

/// How much a channel may differ and still be the same colour: screens are scaled and encoded on their way.
const TOLERANCE: u8 = 24;

/// A picture in RGB.
#[derive(Debug)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG file.
    pub fn png(file: &[u8]) -> Result<Self> {
        let mut decoder = Decoder::new(Cursor::new(file));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().context("not a PNG file")?;
        let mut bytes = vec![
            0;
            reader
                .output_buffer_size()
                .context("a picture larger than memory")?
        ];
        let info = reader.next_frame(&mut bytes).context("half a PNG file")?;
        let samples = match info.color_type {
            ColorType::Rgb => 3,
            ColorType::Rgba => 4,
            ColorType::Grayscale => 1,
            other => bail!("pictures of kind {other:?} are not expected"),
        };
        let pixels = bytes[..info.buffer_size()]
            .chunks_exact(samples)
            .map(|pixel| match *pixel {
                [red, green, blue, ..] => [red, green, blue],
                [gray, ..] => [gray; 3],
                [] => [0; 3],
            });
        Ok(Picture {
            width: info.width as usize,
            height: info.height as usize,
            pixels: pixels.collect(),
        })
    }

    /// The share of pixels that are the same in both, 0 to 1.
    pub fn same_as(&self, other: &Picture) -> Result<f64> {
        ensure!(
            (self.width, self.height) == (other.width, other.height),
            "{}×{} and {}×{} are no sizes of the same screen",
            self.width,
            self.height,
            other.width,
            other.height
        );
        let same = |(a, b): &(&[u8; 3], &[u8; 3])| {
            a.iter()
                .zip(b.iter())
                .all(|(a, b)| a.abs_diff(*b) <= TOLERANCE)
        };
        let count = self.pixels.iter().zip(&other.pixels).filter(same).count();
        Ok(count as f64 / self.pixels.len().max(1) as f64)
    }

    /// The share of pixels that are not of the colour of the first one: 0 for an empty screen.
    pub fn content(&self) -> f64 {
        let count = self
            .pixels
            .iter()
            .filter(|pixel| Some(*pixel) != self.pixels.first())
            .count();
        count as f64 / self.pixels.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(ColorType::Rgb);
        encoder
            .write_header()
            .unwrap()
            .write_image_data(pixels)
            .unwrap();
        file
    }

    #[test]
    fn pictures_are_compared() {
        let black = Picture::png(&file(&[0; 6])).unwrap();
        let half = Picture::png(&file(&[3, 3, 3, 200, 200, 200])).unwrap();
        assert!(black.content() < 0.01 && (half.content() - 0.5).abs() < 0.01);
        assert!((black.same_as(&half).unwrap() - 0.5).abs() < 0.01);
        assert!(Picture::png(b"no picture").is_err());
    }
}
