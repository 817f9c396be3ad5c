# Two questions, answered apart: where does the derivative exist, and where is the printed formula equal to it?
let x : R, z : R^n

derive abs(x) wrt x               # no derivative at 0
derive relu(x)^2 wrt x            # the kink is gone: everywhere
derive relu(x) - relu(-x) wrt x   # is x, so 1 at 0 too; but each relu' says 0 there
derive norm1(z) wrt z
derive norm2(z) wrt z[j]
derive norm2(z)^2 wrt z
derive max(z) wrt z[j]            # shares the derivative at a tie, where there is none
derive sqrt(x) wrt x
derive log(x) wrt x
derive x^(1/3) wrt x

# At a point the program decides which of the three holds:
#     chainrule check -e "relu(x) - relu(-x)" --let "x : R" --wrt x --at "x = 0"
