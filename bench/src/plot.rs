//! Plots, as SVG. The vertical axis is logarithmic: equal distances are equal ratios.

use anyhow::{Result, anyhow};
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (840, 460);
const FONT: &str = "sans-serif";

/// An axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    /// What it counts.
    pub(crate) label: &'static str,
    /// Whether equal distances are equal ratios; the vertical axis is so in any case.
    pub(crate) logarithmic: bool,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) name: String,
    /// Its points, from left to right. Those that are not positive don't show on a logarithmic axis.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// Name of its file, without the ending.
    pub(crate) file: &'static str,
    /// What it shows.
    pub(crate) title: &'static str,
    /// The horizontal axis.
    pub(crate) x: Axis,
    /// The vertical axis.
    pub(crate) y: Axis,
    /// The lines.
    pub(crate) series: Vec<Series>,
}

impl Plot {
    /// The plot as an SVG document.
    pub(crate) fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let drawn = self.draw(&mut text);
        drawn.map_err(|error| anyhow!("the plot {} can't be drawn: {error}", self.file))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_first, x_last) = bounds(points().map(|point| point.0));
        let (y_first, y_last) = bounds(points().map(|point| point.1).filter(|y| *y > 0.0));
        let y = (y_first / 1.3..y_last * 1.3).log_scale();
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&root);
        builder.margin(14).x_label_area_size(42).y_label_area_size(64).caption(self.title, (FONT, 18));
        if self.x.logarithmic {
            self.fill(builder.build_cartesian_2d((x_first / 1.1..x_last * 1.1).log_scale(), y)?)?;
        } else {
            let space = (x_last - x_first) / 50.0;
            self.fill(builder.build_cartesian_2d(x_first - space..x_last + space, y)?)?;
        }
        root.present()?;
        Ok(())
    }

    fn fill<'a, X: Ranged<ValueType = f64> + ValueFormatter<f64>>(
        &self,
        mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, LogCoord<f64>>>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x.label).y_desc(self.y.label).label_style((FONT, 13)).light_line_style(WHITE);
        mesh.x_label_formatter(&tick).y_label_formatter(&tick).draw()?;
        for (index, series) in self.series.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let line = LineSeries::new(series.points.iter().copied(), color.stroke_width(2)).point_size(3);
            let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
            chart.draw_series(line)?.label(series.name.clone()).legend(key);
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8));
        labels.border_style(BLACK.mix(0.3)).label_font((FONT, 13)).draw()?;
        Ok(())
    }
}

/// The least and the greatest; something to draw between in any case.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (first, last) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(first, last), value| (first.min(value), last.max(value)));
    if first < last {
        (first, last)
    } else if first.is_finite() {
        (first, first + 1.0)
    } else {
        (1.0, 10.0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the chart calls it")]
fn tick(value: &f64) -> String {
    let digits = if *value >= 1.0 || *value == 0.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(logarithmic: bool, points: Vec<(f64, f64)>) -> Plot {
        let axis = |label| Axis { label, logarithmic };
        let series = vec![Series { name: "coil".to_owned(), points }];
        Plot { file: "file", title: "Times", x: axis("held"), y: axis("ms"), series }
    }

    #[test]
    fn names_and_axes_are_in_the_picture() {
        for logarithmic in [false, true] {
            let svg = plot(logarithmic, vec![(1.0, 0.5), (4_000.0, 50.0)]).svg().expect("drawn");
            for text in ["Times", "held", "ms", "coil"] {
                assert!(svg.contains(text), "{text} is missing");
            }
            assert!(svg.starts_with("<svg") && svg.contains("<polyline") && svg.contains("<circle"));
        }
    }

    #[test]
    fn few_points_are_no_failure() {
        for points in [vec![], vec![(1.0, 1.0)], vec![(0.0, 2.0), (0.0, 2.0)]] {
            plot(false, points).svg().expect("drawn");
        }
    }
}
