//! Fits of single functions.

use super::*;

fn window(low: f64, high: f64) -> Window {
    Window { centre: vec![0.0], scale: vec![1.0], class: Vec::new(), low, high }
}

fn of_degree(
    function: &Function,
    shared: &Window,
    values: &[(u32, f64)],
    degree: usize,
    method: Method,
) -> Option<Fit> {
    let (undone, drift, bearable) = (false, &[][..], f64::INFINITY);
    let wish = Wish {
        function,
        shared,
        own: None,
        values,
        drift,
        bearable,
        undone,
        degree,
        method,
        deep: false,
    };
    super::of_degree(&wish)
}

/// Values of a normal distribution, by their quantiles at a fine grid.
fn values(mean: f64, std: f64) -> Vec<(u32, f64)> {
    // The logistic distribution is near enough and has a closed quantile function.
    (1..2000)
        .map(|i| f64::from(i) / 2000.0)
        .map(|q| (0, mean + std * (q / (1.0 - q)).ln()))
        .collect()
}

#[test]
fn the_density_pulls_the_error_to_where_values_are_not() {
    let w = window(-8.0, 8.0);
    let narrow = values(0.0, 0.4);
    let weighted = of_degree(&Function::Relu, &w, &narrow, 7, Method::LeastSquares).unwrap();
    let even = of_degree(&Function::Relu, &w, &narrow, 7, Method::Minimax).unwrap();
    assert!(weighted.rms < 0.8 * even.rms, "{} {}", weighted.rms, even.rms);
    assert!(weighted.near && even.near && even.max_error <= weighted.max_error);
}

#[test]
fn relu_uses_its_symmetry() {
    let fit =
        of_degree(&Function::Relu, &window(-3.0, 2.5), &values(0.0, 0.4), 7, Method::LeastSquares)
            .unwrap();
    assert_eq!((fit.window.low, fit.series[0].degree()), (-3.0, 6));
    let odd: Vec<f64> = fit.series[0].coefficients.iter().skip(3).step_by(2).copied().collect();
    assert!(odd.iter().all(|&c| c == 0.0), "{:?}", fit.series[0]);
    assert!((fit.series[0].coefficients[1] - 1.5).abs() < 1e-12);
}

#[test]
fn smooth_functions_converge() {
    for f in [Function::Sigmoid, Function::Tanh, Function::Exp, Function::Gelu { tanh: false }] {
        let of = |d| of_degree(&f, &window(-3.0, 3.0), &values(0.0, 0.5), d, Method::LeastSquares);
        assert!(of(31).unwrap().max_error < 1e-4, "{f:?}: {:?}", of(31).unwrap().max_error);
    }
}

#[test]
fn every_fit_is_bounded_on_the_whole_window() {
    for degree in [7, 15, 31, 63] {
        let fit = of_degree(
            &Function::Relu,
            &window(-10.0, 4.0),
            &values(-1.0, 0.05),
            degree,
            Method::LeastSquares,
        )
        .unwrap();
        assert!(fit.near && fit.max_error <= 0.4, "degree {degree}: {}", fit.max_error);
    }
}

#[test]
fn monic_fits_are_the_free_ones_where_the_lead_is_large() {
    let (shared, values) = (window(-3.0, 3.0), values(0.3, 0.4));
    let fit = |function, degree, undone| {
        let (shared, values) = (&shared, &values[..]);
        let method = Method::LeastSquares;
        let drift = &[][..];
        super::of_degree(&Wish {
            function,
            shared,
            own: None,
            values,
            drift,
            bearable: f64::INFINITY,
            undone,
            degree,
            method,
            deep: false,
        })
        .unwrap()
    };
    for degree in [2, 4, 8] {
        let (monic, free) =
            (fit(&Function::Relu, degree, true), fit(&Function::Relu, degree, false));
        assert_eq!(monic.set().depth() + 1, free.set().depth());
        assert!(monic.gain[0].abs() >= LEAD * 3.0 * 0.999 && monic.near);
        assert!((monic.rms - free.rms).abs() < 1e-9, "{} {}", monic.rms, free.rms);
    }
    // The leading coefficients of a smooth function vanish, and no lead is forced on it.
    let smooth = fit(&Function::Exp, 8, true);
    assert_eq!((smooth.set().degree(), smooth.set().depth()), (7, 3));
    assert!(smooth.rms < 1e-3, "{}", smooth.rms);
}
