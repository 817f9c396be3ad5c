// Made of formulas.js by build.mjs: HTML by name.
export const typeset = {};
