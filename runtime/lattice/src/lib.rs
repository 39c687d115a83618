//! RNS arithmetic over power-of-two cyclotomic rings.
