"""
Makes Cython read each ``.pxd`` once, not once for each module that asks for it: that was two thirds of its time.

Cython cannot compile two modules with one context ("pyx processing leaks into pxd module", ``Cython/Build/Dependencies.py``).
So the process that has read all the ``.pxd`` files compiles none: a fork of it compiles one module, and ends. It writes
what Cython writes without this, but for the order of some declarations, and prototypes that nobody uses. ``setup.py`` calls ``install`` before ``cythonize``, and ``Forks.wait`` behind it. Must not
import wsproxy: it is not built yet.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from Cython.Build import Dependencies
from Cython.Compiler import Errors, Main
from Cython.Compiler.Errors import CompileError
from Cython.Compiler.Symtab import ModuleScope


def install(modules: list[str]) -> Forks:
    """From now on ``cythonize``, which must have no ``nthreads``, compiles in forks; what is compiled asks for these modules."""
    forks = Forks(modules, Dependencies.cythonize_one)
    Dependencies.cythonize_one = forks.start
    Main.search_module_in_dir = Folders(Main.search_module_in_dir).search
    # Whether a module shows a lock of Cython's to others, for a warning about these: none has one, and it looked at each type of
    # each .pxd, for each module anew.
    ModuleScope.find_shared_usages_of_type = lambda _scope, _kind: False
    return forks


class Folders:
    """
    What is in a folder, read once.

    Cython takes each word that is cimported for a module, too, and reads two folders for each place where that could be: 120,000
    times a build.
    """

    def __init__(self, search: Callable[[str, str, str], str | None]) -> None:
        """``search``: Cython's own."""
        self._search = search
        self._words: dict[str, set[str]] = {}

    def search(self, folder: str, module: str, suffix: str) -> str | None:
        """The path of a module's file, also with a version of Cython in its name; None if there is none."""
        if folder not in self._words:
            names = os.listdir(folder) if os.path.isdir(folder) else []
            self._words[folder] = {name.partition(".")[0] for name in names}
        if module in self._words[folder]:
            return self._search(folder, module, suffix)
        return None


class Forks:
    """One process for each module that is compiled, as many at a time as there are cores."""

    def __init__(self, modules: list[str], compile_one: Any) -> None:
        """``compile_one``: Cython's own."""
        self.modules = modules
        self.compile_one = compile_one
        self.cores = os.cpu_count() or 1
        self.running: dict[int, str] = {}
        self.failed: list[str] = []
        self.context: Context | None = None

    def start(self, pyx_file: str, *more: Any) -> None:
        """Compiles one, most likely later."""
        if self.context is None:
            options = next(each for each in more if isinstance(each, Main.CompilationOptions))
            self.context = Context.that_has_read(self.modules, options)
        while len(self.running) >= self.cores:
            self._wait_for_one()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._compile(self.context, pyx_file, *more)
        self.running[pid] = pyx_file

    def wait(self) -> None:
        """
        Until all are compiled.

        Raises: CompileError with those that could not be.
        """
        while self.running:
            self._wait_for_one()
        if self.failed:
            raise CompileError(None, ", ".join(sorted(self.failed)))

    def _wait_for_one(self) -> None:
        pid, status = os.wait()
        source = self.running.pop(pid)
        if status:
            self.failed.append(source)

    def _compile(self, context: Context, *task: Any) -> None:
        """Does not return."""
        code = 1
        try:
            Main.Context.from_options = lambda _options: context
            self.compile_one(*task)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


class Context(Main.Context):  # type: ignore[misc]
    """
    What Cython knows of the ``.pxd`` files.

    ``pxds`` has those that the module at work asks for, also through others, in the order in which Cython would have read them: all
    of ``pxds`` becomes part of the module.
    """

    @classmethod
    def that_has_read(cls, modules: list[str], options: Any) -> Context:
        """
        With the ``.pxd`` of each module.

        Raises: CompileError where Cython complains about one; it has said so.
        """
        context = cls.from_options(options)
        Errors.init_thread()
        Errors.open_listing_file(None)
        for name in modules:
            context.find_module(name, need_pxd=0)
        Errors.close_listing_file()
        if Errors.get_errors_count():
            raise CompileError(None, "in a .pxd")
        context.read, context.pxds = context.pxds, {}
        return context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Cython makes it; ``that_has_read`` fills it."""
        super().__init__(*args, **kwargs)
        self.read: dict[str, Any] = {}
        self.asks_for: dict[str, list[str]] = {}  # a module for others, in order
        self.at_work: list[str] = []

    def find_module(self, module_name: str, *args: Any, **kwargs: Any) -> Any:
        """The scope of a module, whose ``.pxd`` has been read if there is one."""
        scope = super().find_module(module_name, *args, **kwargs)
        if self.at_work:
            self.asks_for[self.at_work[-1]].append(scope.qualified_name)
        self._take(scope.qualified_name)
        return scope

    def process_pxd(self, source_desc: Any, scope: Any, module_name: str) -> Any:
        """Reads one."""
        self.asks_for[scope.qualified_name] = []
        self.at_work.append(scope.qualified_name)
        try:
            return super().process_pxd(source_desc, scope, module_name)
        finally:
            self.at_work.pop()

    def _take(self, name: str) -> None:
        """What was read before the fork."""
        found = self.read.pop(name, None)
        if found is not None:
            for other in self.asks_for[name]:
                self._take(other)
            self.pxds[name] = found
