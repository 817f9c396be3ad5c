"""Lays out what chainrule finds as a LaTeX article:  worksheet.py FILE.cr FILE.tex.in OUT.tex

The template is LaTeX; on lines of their own, these commands are filled in from the program's JSON:

    %%macros                 definitions for the rest; the template needs amsmath, array, color and graphicx, and the
                             colours ink, soft and paper
    \\result{k}               the result of the k-th `derive` statement of FILE.cr
    \\where{k}                where it holds
    \\steps{k}                the derivation, rule by rule
    \\checked{k}              the comparison with independent numbers
    \\verdict{k}{VALUES}      what `check` decides at the given values
    \\assumes{k}              what it supposes about sizes and indices
    \\network{k}              the definitions of the k-th network that `explain` explains
    \\table{k}{TITLE}         the table in the section TITLE of that explanation
    @version@                of the program

The program is found in the environment variable CHAINRULE, else in the PATH.
"""
import json
import os
import re
import subprocess
import sys

COMMANDS = "result|where|steps|checked|verdict|assumes|network|table"
PROGRAM = os.environ.get("CHAINRULE", "chainrule")

# \crfit: a formula in the width it needs; one that is too wide for the line is made smaller. \crnote: words at the end
# of the line, on the next one if there is no room (The TeXbook, chapter 14).
MACROS = r"""
\newsavebox{\crbox}
\newcommand{\crfit}[2]{\sbox{\crbox}{$\displaystyle #2$}%
  \ifdim\wd\crbox>#1\resizebox{#1}{!}{\usebox{\crbox}}\else\usebox{\crbox}\fi}
\newcommand{\crresult}[1]{\par\vspace{2pt}{\fboxsep=7pt\noindent\colorbox{paper}{%
  \makebox[\dimexpr\linewidth-14pt\relax][l]{\crfit{\dimexpr\linewidth-14pt\relax}{#1}}}\par}\vspace{2pt}}
\newcommand{\crnote}[1]{\unskip\nobreak\hfil\penalty50\hskip2em\hbox{}\nobreak\hfil{\small\color{soft}#1}%
  \parfillskip=0pt\finalhyphendemerits=0\par}
\newcommand{\crline}[2]{{\parskip=3pt\par\hangindent=6.2em\hangafter=1\noindent
  \makebox[6.2em][l]{\small\color{soft}#1}#2\par}}
\newcommand{\crverdict}[3]{{\parskip=6pt\par\noindent\hspace*{1.6em}\crfit{0.57\linewidth}{#1}%
  \hfill\makebox[0.37\linewidth][l]{\textbf{\color{ink}#2}#3}\par}}
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
        self.found = {}

    def of(self, command):
        """What another command finds, asked for once."""
        if command not in self.found:
            self.found[command] = chainrule(command, self.path)["results"]
        return self.found[command]

    # Each of these makes the lines that stand for one command of the template.

    def result(self, k, what):
        r = self.results[k]
        indices = r",\; ".join(rf"{i['name']} = {symbol(i['from'])}, \dots, {symbol(i['to'])}"
                               for i in r["free_indices"])
        tail = rf" \qquad {{\color{{soft}} {indices}}}" if indices else ""
        return [rf"\crresult{{{what} = {r['latex']}{tail}}}"]

    def where(self, k):
        r = self.results[k]
        if not r["defined"]:
            return [r"\crline{Well defined}{everywhere}"]
        exact = [c["latex"] for c in r["defined"] if c["kind"] == "exact"]
        sure = [c["latex"] for c in r["defined"] if c["kind"] != "exact"]
        lines = []
        if exact:
            only = "where" if not sure else "exists only where"
            lines.append(rf"\crline{{Well defined}}{{{only} \crfit{{0.75\linewidth}}{{{self.both(exact)}}}}}")
        if sure:
            label = "" if exact else "Well defined"
            but = "is what the formula says " if exact else ""
            lines.append(rf"\crline{{{label}}}{{{but}at least where \crfit{{0.6\linewidth}}{{{self.both(sure)}}}}}")
        return lines

    @staticmethod
    def both(conditions):
        return r" \quad\text{and}\quad ".join(conditions)

    def assumes(self, k):
        sizes = [a for a in self.results[k]["assumes"] if "differentiable" not in a]
        words = ", ".join(f"${plain(a).replace('>=', chr(92) + 'ge ').replace('<=', chr(92) + 'le ')}$" for a in sizes)
        return [rf"\crline{{Supposed}}{{{words}}}"] if sizes else []

    def section(self, k, title):
        """The blocks of a section of an explanation."""
        inside = False
        for block in self.of("explain")[k]["blocks"]:
            if block["kind"] == "title":
                inside = block["text"] == title
            elif inside:
                yield block

    def network(self, k):
        rules = [b["formula"]["latex"] for b in self.section(k, "The network")]
        return [r"\begin{gather*}", *[r + (r" \\" if r is not rules[-1] else "") for r in rules], r"\end{gather*}"]

    def table(self, k, title):
        """Columns to the right; what is no number is set in math mode as far as it is a formula."""
        rows = next(b["rows"] for b in self.section(k, title) if b["kind"] == "table")
        lines = [rf"\begin{{center}}\small\begin{{tabular}}{{{'r' * len(rows[0])}}}"]
        for row in rows:
            end = r" \\ \hline" if row is rows[0] else r" \\"
            lines.append(" & ".join(self.cell(c) for c in row) + end)
        return [*lines, r"\end{tabular}\end{center}"]

    @staticmethod
    def cell(text):
        power = re.fullmatch(r"10\^(-?[\d.]+)", text)
        if power:
            return rf"$10^{{{power[1]}}}$"
        text = plain(text).replace("<=", r"$\le$").replace(">=", r"$\ge$")
        return text.replace("|", "$|$").replace("<", "$<$").replace(">", "$>$").replace("^", r"\^{}")

    def steps(self, k):
        """One line a rule; the last step of the program is the result, which the page has already."""
        lines = []
        for step in self.results[k]["steps"][:-1]:
            label = "" if lines else "Derivation"
            formula = rf"\crfit{{\dimexpr\linewidth-6.2em\relax}}{{{step['latex']}}}"
            lines.append(rf"\crline{{{label}}}{{{formula}\crnote{{{plain(step['rule'])}}}}}")
        return lines

    def checked(self, k):
        c = self.of("check")[k]
        if not (c["exists"] and c["formula_agrees"]):
            return [rf"\crline{{Check}}{{\textbf{{disagrees}} at ${number(c['value'])}$}}"]
        difference = c["worst_entry"]["difference"]
        how = rf"largest difference ${number(float(f'{difference:.1e}'))}$" if difference else "no difference at all"
        return [rf"\crline{{Check}}{{agrees with {plain(c['method'])} at {c['points']} random points: {how}}}"]

    def verdict(self, k, values):
        query = self.results[k]["query"]
        expr, wrt = re.fullmatch(r"derive (.*) wrt (.*)", query).groups()
        r = chainrule("check", self.path, "-e", expr, "--wrt", wrt, "--at", values)["results"][0]
        at = r",\quad ".join(f"{n} = {matrix(v)}" for n, v in r["at"].items() if isinstance(v, list))
        at += "".join(rf",\quad {n} = {v}" for n, v in r["indices"].items())
        e = r["worst_entry"]
        sides = e["one_sided"]
        if not e["exists"]:
            words = "does not exist", rf": left ${number(sides['left'])}$, right ${number(sides['right'])}$"
        elif not e["formula_agrees"]:
            words = "exists", rf": ${number(e['numeric'])}$, but the formula gives ${number(e['value'])}$"
        else:
            words = "exists", rf": ${number(e['value'])}$, as the formula says"
        return [rf"\crverdict{{{at}}}{{{words[0]}}}{{{words[1]}}}"]


def fill(sheet, template):
    def line(text):
        if text.strip() == "%%macros":
            return [MACROS]
        m = re.fullmatch(rf"\\({COMMANDS})\{{(\d+)\}}(?:\{{(.*)\}})?", text.strip())
        if not m:
            return [text.replace("@version@", sheet.version)]
        rest = [] if m[3] is None else [m[3]]
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
