import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'

/**
 * Has a module of the emulator use other functions in place of some that it declares.
 *
 * @throws Error where the module does not declare one of them
 */
export function replaceFunctions(
  load: NodeJS.Require,
  file: string,
  functions: Record<string, unknown>,
): void {
  const filename = load.resolve(file)
  const source = readFileSync(filename, 'utf8')
  const names = Object.keys(functions)
  if (!names.every((name) => source.includes(`\nfunction ${name} (`)))
    throw new Error(`The embedded DynamoDB's ${file} is not as expected.`)
  const own = load(file)
  const replaced = names.map((name) => `${name} = functions.${name}`).join('\n')
  const exports = compile(`${source}\n${replaced}`, filename, functions)
  const exported = names.filter((name) => Object.hasOwn(own, name)).map((name) => [name, functions[name]])
  replaceExports(load, filename, Object.assign(exports, Object.fromEntries(exported)))
}

/** Has a module of the emulator export something else; where it is no function, also to those that have loaded it. */
export function replaceExports(load: NodeJS.Require, filename: string, exports: object): void {
  const own = load(filename)
  const cached = load.cache[filename]
  if (typeof own === 'function' && cached !== undefined) cached.exports = exports
  else Object.assign(own, exports)
}

/** @returns what a module of the emulator exports whose source has been changed, and knows `functions` by that name */
export function compile(source: string, filename: string, functions: object = {}): object {
  const module = { exports: {} }
  const parameters = ['module', 'exports', 'require', 'functions']
  const run = compileFunction(source, parameters, { filename })
  run(module, module.exports, createRequire(filename), functions)
  return module.exports
}
