"""Lays out what chainrule finds as a LaTeX article:  worksheet.py FILE.cr FILE.tex.in OUT.tex

The template is LaTeX; on lines of their own, these commands are filled in from the program's JSON:

    %%macros                 definitions for the rest; the template needs amsmath, array, color and graphicx, and the
                             colours ink, soft and paper
    \\result{k}               the result of the k-th `derive` statement of FILE.cr
    \\where{k}                where it holds
    \\steps{k}                the derivation, rule by rule
    \\checked{k}              the comparison with independent numbers
    \\verdict{k}{VALUES}      what `check` decides at the given values
    @version@                of the program

The program is found in the environment variable CHAINRULE, else in the PATH.
"""
import json
import os
import re
import subprocess
import sys

PROGRAM = os.environ.get("CHAINRULE", "chainrule")

# A formula on display, in a box of the width it needs: one that is too wide for the line is made smaller.
MACROS = r"""
\newsavebox{\crbox}
\newcommand{\crfit}[2]{\sbox{\crbox}{$\displaystyle #2$}%
  \ifdim\wd\crbox>#1\resizebox{#1}{!}{\usebox{\crbox}}\else\usebox{\crbox}\fi}
\newcommand{\crresult}[1]{\par{\centering\fboxsep=9pt\colorbox{paper}{\color{ink}\crfit{0.9\linewidth}{#1}}\par}}
\newcommand{\crlabel}[1]{\makebox[6.2em][l]{\small\color{soft}#1}}
\newcommand{\crline}[2]{\par\hangindent=6.2em\hangafter=1\noindent\crlabel{#1}#2\par}
\newcommand{\crstep}[4]{\par\vspace{2pt}\noindent\hspace*{6.2em}%
  \begin{minipage}[t]{\dimexpr\linewidth-6.2em\relax}{\small\color{soft}#1.\enspace #2}\par\vspace{3pt}%
  \hspace*{1.4em}\crfit{\dimexpr\linewidth-1.4em\relax}{#3}\end{minipage}\par}
\newcommand{\crverdict}[3]{\par\vspace{3pt}\noindent\hspace*{1.4em}%
  \begin{minipage}[t]{\dimexpr\linewidth-1.4em\relax}\crfit{\linewidth}{#1}\par\vspace{2pt}%
  \hspace*{1.4em}\textbf{\color{ink}#2}#3\end{minipage}\par\vspace{3pt}}
""".strip()


def chainrule(*arguments):
    done = subprocess.run([PROGRAM, *arguments, "--json", "-"], stdout=subprocess.PIPE, check=False)
    if done.returncode > 1:  # 1: a finding, which is what a verdict is about
        sys.exit(f"worksheet: {PROGRAM} {' '.join(arguments)} failed")
    return json.loads(done.stdout)


def plain(text):
    """Words of the program as LaTeX text."""
    return re.sub(r"([#$%&_{}])", r"\\\1", text)


def number(v):
    """A number in math mode, in at most four digits."""
    if v is None:
        return r"\text{none}"
    text = f"{v:.4g}"
    if "e" in text:
        digits, power = text.split("e")
        return rf"{digits} \cdot 10^{{{int(power)}}}"
    return text


def symbol(text):
    """A size or an index as LaTeX."""
    return str(text).replace("*", r"\,")


def matrix(value):
    """A value as the program reports it: a number, a list or a list of lists."""
    if not isinstance(value, list):
        return number(value)
    rows = value if isinstance(value[0], list) else [[v] for v in value]
    body = r" \\ ".join(" & ".join(number(v) for v in row) for row in rows)
    return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"


class Sheet:
    def __init__(self, path):
        self.path = path
        derived = chainrule("derive", "--steps", path)
        self.version = derived["version"]
        self.results = derived["results"]
        self.checks = chainrule("check", path)["results"]

    # Each of these makes the lines that stand for one command of the template.

    def result(self, k):
        r = self.results[k]
        indices = r",\; ".join(rf"{i['name']} = {symbol(i['from'])}, \dots, {symbol(i['to'])}" for i in r["free_indices"])
        tail = rf" \qquad {{\color{{soft}} {indices}}}" if indices else ""
        return [rf"\crresult{{{r['latex']}{tail}}}"]

    def where(self, k):
        r = self.results[k]
        if not r["defined"]:
            return [r"\crline{Well defined}{everywhere}"]
        exact = [c["latex"] for c in r["defined"] if c["kind"] == "exact"]
        sure = [c["latex"] for c in r["defined"] if c["kind"] != "exact"]
        lines = []
        if exact:
            only = "where" if not sure else "only where"
            lines.append(rf"\crline{{Well defined}}{{{only} \crfit{{0.75\linewidth}}{{{self.both(exact)}}}}}")
        if sure:
            label = "" if exact else "Well defined"
            but = "and given by the formula " if exact else ""
            lines.append(rf"\crline{{{label}}}{{{but}at least where \crfit{{0.6\linewidth}}{{{self.both(sure)}}}}}")
        return lines

    @staticmethod
    def both(conditions):
        return r" \quad\text{and}\quad ".join(conditions)

    def steps(self, k):
        lines = [r"\crline{Derivation}{}\vspace{-\baselineskip}\vspace{-\parskip}"]
        for n, step in enumerate(self.results[k]["steps"], 1):
            lines.append(rf"\crstep{{{n}}}{{{plain(step['rule'])}}}{{{step['latex']}}}{{}}")
        return lines

    def checked(self, k):
        c = self.checks[k]
        if not (c["exists"] and c["formula_agrees"]):
            return [rf"\crline{{Check}}{{\textbf{{disagrees}} at ${number(c['value'])}$}}"]
        difference = c["worst_entry"]["difference"]
        how = rf"largest difference ${number(float(f'{difference:.1e}'))}$" if difference else "no difference at all"
        return [rf"\crline{{Check}}{{agrees with {plain(c['method'])} at {c['points']} random points: {how}}}"]

    def verdict(self, k, values):
        query = self.results[k]["query"]
        expr, wrt = re.fullmatch(r"derive (.*) wrt (.*)", query).groups()
        r = chainrule("check", self.path, "-e", expr, "--wrt", wrt, "--at", values)["results"][0]
        at = r",\quad ".join(f"{n} = {matrix(v)}" for n, v in r["at"].items())
        at += "".join(rf",\quad {n} = {v}" for n, v in r["indices"].items())
        e = r["worst_entry"]
        sides = e["one_sided"]
        if not e["exists"]:
            words = ("does not exist", rf": ${number(sides['left'])}$ from the left, ${number(sides['right'])}$ from the right")
        elif not e["formula_agrees"]:
            words = ("exists, but is not what the formula gives",
                     rf": it is ${number(e['numeric'])}$, the formula gives ${number(e['value'])}$")
        else:
            words = ("exists, and the formula agrees", rf": ${number(e['value'])}$")
        return [rf"\crverdict{{{at}}}{{{words[0]}}}{{{words[1]}}}"]


def fill(sheet, template):
    def line(text):
        if text.strip() == "%%macros":
            return [MACROS]
        m = re.fullmatch(r"\\(result|where|steps|checked|verdict)\{(\d+)\}(?:\{(.*)\})?", text.strip())
        if not m:
            return [text.replace("@version@", sheet.version)]
        rest = [m[3]] if m[1] == "verdict" else []
        return getattr(sheet, m[1])(int(m[2]) - 1, *rest)

    return "\n".join(x for text in template.splitlines() for x in line(text)) + "\n"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as f:
        text = fill(Sheet(sys.argv[1]), f.read())
    with open(sys.argv[3], "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    main()
