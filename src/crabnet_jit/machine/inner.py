"""Kernels that are only ever inlined into other kernels, and compiled no further than that needs.

Numba optimises every compiled function as a library of its own, turns it into machine code, and then
optimises it again inside each of its callers. For a kernel that is always inlined, the first two steps are
wasted, 1.4 s of a cold start. Only the entry points are optimised here, with all that they contain.

This uses `pipeline_class`, Numba's hook for other compilers, for our own kernels only: those of users and of
other packages are compiled as usual. If a version of Numba lacks what this needs, so are our kernels.
"""

from typing import Any

import llvmlite.binding
from numba.core import codegen, compiler
from numba.core.compiler_machinery import PassManager

# Passes for comprehensions, array expressions and inlining: 5 % of compile time, and not needed here.
_UNUSED = {"InlineClosureLikes", "NopythonRewrites", "InlineOverloads"}
_NEEDED = ("_optimize_final_module", "_finalize_final_module")


class InnerLibrary(codegen.JITCodeLibrary):
    """The code of a kernel, ready for inlining: neither optimised nor turned into machine code."""

    _final_module: Any

    def _optimize_final_module(self) -> None:
        """Do nothing: its callers are optimised."""

    def _finalize_final_module(self) -> None:
        """Give the engine only the pointers to environments, which Numba sets by name."""
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
    """Numba's compiler, which produces such a library."""

    def define_pipelines(self) -> Any:
        """Numba's pipelines, without the passes that kernels do not need."""
        self.state.library = InnerLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        (whole,) = super().define_pipelines()
        shorter = PassManager(whole.pipeline_name)
        for one, description in whole.passes:
            if getattr(one, "__name__", one) not in _UNUSED:
                shorter.add_pass(one, description)
        shorter.finalize()
        return [shorter]


def options() -> dict[str, Any]:
    """The options that make Numba compile a kernel so; none if this version cannot."""
    can = all(hasattr(codegen.JITCodeLibrary, name) for name in _NEEDED)
    return {"pipeline_class": InnerCompiler} if can else {}
