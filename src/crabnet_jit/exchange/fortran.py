"""Networks as Fortran: a module that calls exported C."""

from crabnet_jit import check
from crabnet_jit.exchange.c_code import describe_names
from crabnet_jit.network.network import NN

_MODULE = """\
! A fitted network; written by crabnet_jit. It calls the C file of the same name.
! Inputs and outputs are in the units of the data; x(1) here is x[0] of C.
!
{names}
module {prefix}
    use, intrinsic :: iso_c_binding, only: {kind}{and_int}
    implicit none
    private
{public}
    integer, parameter, public :: {prefix}_n_in = {n_in}
    integer, parameter, public :: {prefix}_n_out = {n_y}

    interface
        ! {what} y for the inputs x.
        pure subroutine {prefix}_predict(x, y) &
                bind(c, name="{prefix}_predict")
            import :: {kind}
            real({kind}), intent(in) :: x({n_in})
            real({kind}), intent(out) :: y({n_y})
        end subroutine

        ! The same, and the derivatives: dy_dx(j, k) is d y(k) / d x(j).
        pure subroutine {prefix}_jacobian(x, y, dy_dx) &
                bind(c, name="{prefix}_jacobian")
            import :: {kind}
            real({kind}), intent(in) :: x({n_in})
            real({kind}), intent(out) :: y({n_y})
            real({kind}), intent(out) :: dy_dx({n_in}, {n_y})
        end subroutine
{is_inside}    end interface
end module {prefix}
"""
_IS_INSIDE = """
        ! 1 if x is in the box of the training data, else 0: then the network extrapolates.
        pure function {prefix}_is_inside(x) result(is_inside) &
                bind(c, name="{prefix}_is_inside")
            import :: c_int, {kind}
            real({kind}), intent(in) :: x({n_in})
            integer(c_int) :: is_inside
        end function
"""
_LINE = 130  # characters in a line of Fortran


def fortran_source(net: NN, prefix: str) -> str:
    """The module named `prefix`; `net` is `exportable`."""
    if prefix.lower() in ("c_double", "c_float", "c_int"):
        raise check.reject("prefix", "different from the names in iso_c_binding", check.shown(prefix))
    shape = {
        "prefix": prefix,
        "n_in": net.in_features,
        "kind": f"c_{'double' if net.dtype == 'f8' else 'float'}",
    }
    has_box = net.domain is not None
    functions = ["predict", "jacobian", *(["is_inside"] if has_box else [])]
    return _MODULE.format(
        **shape,
        n_y=net.schema.n_values(net.out_features),
        what="Predictions" if net.schema.labels is None else "Probabilities of the classes",
        names="\n".join(f"!   {line}"[:_LINE] for line in describe_names(net)),
        public="\n".join(f"    public :: {prefix}_{name}" for name in functions),
        is_inside=_IS_INSIDE.format(**shape) if has_box else "",
        and_int=", c_int" if has_box else "",
    )
