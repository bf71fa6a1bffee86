"""Kernels that only ever become part of other kernels, compiled no further than that takes.

Numba optimises every compiled function as a library of its own, makes machine code of it, and then optimises
it again inside each of its callers. For a kernel that is put in place of all its calls the first two are for
nothing, 1.4 s of a cold start. What is optimised is what runs, the entry points, with all that they contain.

This uses Numba's hook for other compilers, `pipeline_class`, for our own kernels only: functions of users and
of other packages are compiled as ever. Where a version of Numba lacks what it needs, so are ours.
"""

from typing import Any

import llvmlite.binding
from numba.core import codegen, compiler
from numba.core.compiler_machinery import PassManager

# Passes for comprehensions, expressions of whole arrays and inlining: 5 % of compiling, without use here.
_UNUSED = {"InlineClosureLikes", "NopythonRewrites", "InlineOverloads"}
_NEEDED = ("_optimize_final_module", "_finalize_final_module")


class InnerLibrary(codegen.JITCodeLibrary):
    """The code of a kernel as others take it in: neither optimised nor made machine code of."""

    _final_module: Any

    def _optimize_final_module(self) -> None:
        """What it becomes part of is optimised."""

    def _finalize_final_module(self) -> None:
        """Give the engine only the pointers to environments, which Numba sets by their names."""
        whole = self._final_module
        names = [v.name for v in whole.global_variables if v.name.startswith("_ZN08NumbaEnv")]
        pointers = "\n".join(f'@"{name}" = common global i8* null' for name in names)
        empty = str(self._codegen._create_empty_module(self.name))
        self._final_module = llvmlite.binding.parse_assembly(f"{empty}\n{pointers}")
        try:
            super()._finalize_final_module()
        finally:
            self._final_module = whole


class InnerCompiler(compiler.Compiler):
    """Numba's compiler, into such a library."""

    def define_pipelines(self) -> Any:
        """Those of Numba, without what kernels have no use for."""
        self.state.library = InnerLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        (whole,) = super().define_pipelines()
        shorter = PassManager(whole.pipeline_name)
        for one, description in whole.passes:
            if getattr(one, "__name__", one) not in _UNUSED:
                shorter.add_pass(one, description)
        shorter.finalize()
        return [shorter]


def options() -> dict[str, Any]:
    """What makes Numba compile a kernel so; nothing if this version cannot."""
    can = all(hasattr(codegen.JITCodeLibrary, name) for name in _NEEDED)
    return {"pipeline_class": InnerCompiler} if can else {}
