//! Measurements, printed as ratios and figures; each is ignored unless asked for, and means nothing without `--release`.

mod work;
