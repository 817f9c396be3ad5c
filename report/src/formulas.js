// What is typeset, when the page is built. Names are used by the panels.
export const formulas = {
  lambda: String.raw`\Lambda_l=\ln\frac{\lVert h_l\odot g_l\rVert}{s_y\,\lVert g_y\rVert}`,
  gain: String.raw`\ln\text{gain}=\ln\frac{\lVert g_{\text{in}}\rVert}{\lVert g_{\text{out}}\rVert}=
    \text{slope}+\text{weight}+\text{norm}+\text{skip}+\text{rest}`,
  edges: String.raw`\text{factor}=\sum_{\text{edges}}\pi_t\,q_j\,\ln\frac{\lVert b_j\rVert}{\lVert g_v\rVert}`,
  skip: String.raw`\text{skip}=\sum_t \pi_t\sum_j q_j\,\ln\frac{\lVert g_t\rVert}{\lVert b_j\rVert}`,
  share: String.raw`q_j=\frac{\lVert b_j\rVert^2}{\sum_k\lVert b_k\rVert^2}`,
  chi: String.raw`\chi=\sigma_w^2\,\mathbb{E}\bigl[\varphi'(\sqrt{q}\,z)^2\bigr],\qquad \ln\text{gain}=\tfrac12\ln\chi`,
  length: String.raw`q\leftarrow\sigma_w^2\,\mathbb{E}\bigl[\varphi(\sqrt{q}\,z)^2\bigr]+\sigma_b^2`,
  depths: String.raw`\xi_g=\frac{1}{|\ln\chi|}`,
  critical: String.raw`\chi(\sigma_b^2,\sigma_w^2)=1`,
  paths: String.raw`\text{share}_k=\frac{\langle v_k,g\rangle}{\lVert g\rVert^2},\qquad
    \text{energy}_k=\lVert v_k\rVert^2`,
  singular: String.raw`J=\frac{\partial h_{\text{out}}}{\partial h_{\text{in}}},\qquad
    \sigma_i=\sqrt{\lambda_i(J^{\top}J)}`,
  saturated: String.raw`|\varphi'(s)|<0.1\,\sup|\varphi'|`,
  slope: String.raw`\text{slope}=\tfrac12\ln\frac{\sum g^2\,\varphi'(s)^2}{\sum g^2}`,
  balance: String.raw`\ln\frac{\lVert\partial L/\partial W\rVert}{\lVert W\rVert}`,
  shatter: String.raw`\cos\bigl(\nabla_x L(x),\,\nabla_x L(x')\bigr)`,
  confidence: String.raw`\Phi\!\left(\frac{\bigl|\,|\Lambda|-T\,\bigr|}{s}\right)`,
};
