//! Times pre-processing, on request: `scripts/bench-pre` drives it over stdin and stdout and compares it with OpenCV.
//!
//! Arguments: format, width, height, input width, input height, element type (`f32`, `f16`, `u8`), layout (`nchw`,
//! `nhwc`), colour (`rgb`, `bgr`, `gray`), and the file with the frame's planes, tightly packed. Each line on stdin
//! is a number of runs; the answer is one line with the nanoseconds of each. At the end of stdin the tensor is
//! written to `<file>.tensor` as little-endian bytes. Without arguments it does nothing (`cargo bench` runs it so).

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use gstvigil::bundle::contract::{Align, Color, InputContract, Layout, Resize};
use gstvigil::engine::{DataType, Tensor, TensorData};
use gstvigil::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat};
use gstvigil::pre::{Border, Preprocessor};

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [format, width, height, input_width, input_height, dtype, layout, color, file] = args.as_slice() else {
        return Ok(());
    };
    let format = PixelFormat::ALL
        .into_iter()
        .find(|f| format!("{f:?}").eq_ignore_ascii_case(format))
        .ok_or_else(|| format!("no format {format}"))?;
    let info = FrameInfo {
        format,
        width: width.parse()?,
        height: height.parse()?,
        range: ColorRange::Limited,
        matrix: ColorMatrix::Bt601,
    };
    let bytes = std::fs::read(file)?;
    let mut planes = Vec::new();
    let mut rest = bytes.as_slice();
    for plane in 0..format.planes() {
        let stride = format.row_bytes(plane, info.width);
        let (data, next) =
            rest.split_at_checked(stride * format.rows(plane, info.height)).ok_or("the file is short")?;
        planes.push((data, stride));
        rest = next;
    }
    let frame = FrameView::new(info, &planes)?;
    let mut pre = Preprocessor::new(InputContract {
        layout: if layout == "nhwc" { Layout::Nhwc } else { Layout::Nchw },
        width: input_width.parse()?,
        height: input_height.parse()?,
        color: match color.as_str() {
            "gray" => Color::Gray,
            "bgr" => Color::Bgr,
            _ => Color::Rgb,
        },
        resize: Resize::Letterbox,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 114,
        mean: [0.0; 3],
        std: if dtype == "u8" { [1.0; 3] } else { [255.0; 3] },
        quantization: None,
    });
    let dtype = match dtype.as_str() {
        "f16" => DataType::F16,
        "u8" => DataType::U8,
        _ => DataType::F32,
    };
    let mut tensor = Tensor::zeros("images", dtype, &pre.shape());
    let mut border = Border::default();
    for line in std::io::stdin().lock().lines() {
        let mut answer = String::new();
        for _ in 0..line?.trim().parse()? {
            let start = Instant::now();
            pre.run(&frame, None, &mut tensor, &mut border)?;
            answer += &format!("{} ", start.elapsed().as_nanos());
        }
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    let values: Vec<u8> = match &tensor.data {
        TensorData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::U8(v) => v.to_vec(),
        _ => Vec::new(),
    };
    std::fs::write(format!("{file}.tensor"), values)?;
    Ok(())
}
