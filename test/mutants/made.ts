import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseSync } from 'vite'

/**
 * Mutants that are made by rule, of each place that one fits: `npm run mutants -- --made [file …]`. (StrykerJS was weighed: it
 * does not start beside TypeScript 7, takes a time-out or any error for a kill, brings 98 packages, and was no faster.)
 * All mutants of a file are in its code at once, and the variable MUTANT of a process says which of them is on.
 */
export interface MadeMutant {
  /** A number, also where code was added elsewhere in the file. */
  id: string
  file: string
  /** The line where it begins, and its number. */
  line: string
  number: number
  /** What it replaces, and by what. */
  of: string
  to: string
}

const root = resolve(import.meta.dirname, '../..')

interface Node {
  type: string
  start: number
  end: number
  [property: string]: unknown
}
const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string'

/** The nodes within a node, in their order; types are none. */
function childrenOf(node: Node): Node[] {
  return Object.entries(node)
    .filter(([name]) => !['typeAnnotation', 'typeParameters', 'typeArguments', 'returnType'].includes(name))
    .flatMap(([, value]) => (Array.isArray(value) ? value : [value]))
    .filter(isNode)
    .filter(({ type }) => !/^TS(?!AsExpression|SatisfiesExpression|NonNullExpression)/.test(type))
    .sort((a, b) => a.start - b.start)
}

const SWAPPED: Record<string, string[]> = {
  '===': ['!=='],
  '!==': ['==='],
  '<': ['<=', '>'],
  '<=': ['<', '>'],
  '>': ['>=', '<'],
  '>=': ['>', '<'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '**': ['*'],
}
/** Methods without which a value is still of its kind. */
const OPTIONAL_METHODS = ['filter', 'sort', 'toSorted', 'reverse', 'slice', 'trim', 'toLowerCase', 'replace']
/** What is said to a person or to a log is not held by tests word for word. */
const isTalk = (node: Node, code: string): boolean =>
  /^(new \w*(Error|Verdict|Throttled|Logger)\b|passOver\(|say\(|\w*\.?log\.|console\.)/.test(
    code.slice(node.start, node.end),
  )

/** The number of a limit is a choice; what is counted by it is not. */
const isLimit = (node: Node, code: string): boolean =>
  node.type === 'VariableDeclarator' && /^[A-Z][A-Z_\d]+ = [\d_.* ]+$/.test(code.slice(node.start, node.end))

/** What may stand in the place of a node, by what its parent is. */
function replacements(node: Node, parent: Node, code: string): string[] {
  const text = (part: unknown): string => code.slice((part as Node).start, (part as Node).end)
  switch (node.type) {
    case 'LogicalExpression':
      return [text(node['left']), text(node['right'])]
    case 'BinaryExpression': {
      const sides = [node['left'], node['right']] as Node[]
      const joins =
        node['operator'] === '+' &&
        sides.some(({ type, value }) => type === 'TemplateLiteral' || typeof value === 'string')
      // As a whole condition it is tried both ways.
      const isTold = joins || (parent['test'] === node && /^[!=]==$/.test(node['operator'] as string))
      const operators = isTold ? [] : (SWAPPED[node['operator'] as string] ?? [])
      return operators.map((operator) => `${text(node['left'])} ${operator} ${text(node['right'])}`)
    }
    case 'UnaryExpression':
      return node['operator'] === '!' || node['operator'] === '-' ? [text(node['argument'])] : []
    case 'Literal': {
      const { value } = node
      if (typeof value === 'boolean') return [String(!value)]
      // One more of a thousand would have to be seen by tests that clocks do not hold to so much.
      if (typeof value === 'number') return [String(value < 1_000 ? value + 1 : value * 2)]
      // Compared with nothing, it is what the comparison comes to anyway.
      if (typeof value === 'string') return value === '' || parent.type === 'BinaryExpression' ? [] : ["''"]
      const pattern = text(node)
      return [pattern.replace(/^\/\^/, '/'), pattern.replace(/\$(\/[a-z]*)$/, '$1')].filter(
        (other) => other !== pattern && !other.startsWith('//'),
      )
    }
    case 'ArrayExpression':
      return (node['elements'] as unknown[]).length > 0 ? ['[]'] : []
    case 'CallExpression': {
      const callee = node['callee'] as Node
      if (callee.type !== 'MemberExpression') return []
      const name = text(callee['property'])
      if (name === 'min' || name === 'max') {
        return text(callee['object']) === 'Math'
          ? [text(node).replace(/^Math\.m(in|ax)/, name === 'min' ? 'Math.max' : 'Math.min')]
          : []
      }
      // Without parentheses around it, the rest of a chain ends where it is broken off.
      const ofChain =
        parent.type === 'ChainExpression' || callee['optional'] === true || text(node).includes('?.')
      return OPTIONAL_METHODS.includes(name) && !ofChain ? [text(callee['object'])] : []
    }
    case 'ExpressionStatement': {
      const expression = node['expression'] as Node
      if (expression.type === 'Literal') return []
      const awaited = expression.type === 'AwaitExpression' ? [text(expression['argument'])] : []
      return ['undefined', ...awaited]
    }
    default:
      return []
  }
}

/** A condition may come out either way; that of a loop only so that it ends. */
function conditions(node: Node, parent: Node): string[] {
  if (parent['test'] !== node) return []
  if (parent.type === 'IfStatement' || parent.type === 'ConditionalExpression') return ['true', 'false']
  return /^(For|While)Statement$/.test(parent.type) ? ['false'] : []
}

/** Literals that stand where no other expression can. */
const isFixed = (node: Node, parent: Node): boolean =>
  node.type === 'Literal' &&
  ((parent['key'] === node && parent['computed'] !== true) ||
    /^(Import|Export)/.test(parent.type) ||
    parent.type === 'TSLiteralType')

/** @returns the mutants of a file, and its code with all of them in it */
export function mutantsOf(file: string): { mutants: MadeMutant[]; code: string } {
  const source = readFileSync(join(root, file), 'utf8')
  const { program, errors } = parseSync(file, source)
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`)
  const mutants: MadeMutant[] = []
  const seen = new Map<string, number>()

  const render = (node: Node, parent: Node): string => {
    if (isTalk(node, source) || isLimit(node, source)) return source.slice(node.start, node.end)
    const all = isFixed(node, parent)
      ? []
      : [...conditions(node, parent), ...replacements(node, parent, source)]
    const made = [...new Set(all)].map((to) => {
      const before = source.slice(0, node.start)
      const number = before.split('\n').length
      const line = source.split('\n')[number - 1]?.trim() ?? ''
      const of = source.slice(node.start, node.end)
      const key = `${file}|${line}|${of}|${to}`
      seen.set(key, (seen.get(key) ?? 0) + 1)
      const mutant = { id: `${mutants.length}`, file, line, number, of, to }
      mutants.push(mutant)
      return mutant
    })
    let text = ''
    let at = node.start
    for (const child of childrenOf(node)) {
      if (child.start < at) continue
      text += source.slice(at, child.start) + render(child, node)
      at = child.end
    }
    text += source.slice(at, node.end)
    if (made.length === 0) return text
    const choice = made.map(({ id, to }) => `globalThis.isMutant('${file}:${id}') ? (${to}) : `).join('')
    // A line that begins with a bracket would go on with the one before.
    return node.type === 'ExpressionStatement' ? `void (${choice}(${text}))` : `(${choice}(${text}))`
  }

  const code = render(program as unknown as Node, { type: '', start: 0, end: 0 })
  return { mutants, code: `${IS_MUTANT}${code}` }
}

/**
 * Also remembers which places were come by, and ends what goes round and round: for seconds of the processor in which
 * no other work has had a turn, or for ever. It is global for functions whose text is taken elsewhere, as a page does.
 */
const IS_MUTANT = `
globalThis.madeMutants ??= { met: new Set(), on: process.env['MUTANT'], times: 0 };
globalThis.isMutant ??= (id) => {
  const state = globalThis.madeMutants;
  state.met.add(id);
  if (state.on !== id) return false;
  const { user } = process.cpuUsage();
  if (state.since === undefined) setImmediate(() => { delete state.since; });
  state.since ??= user;
  state.times += 1;
  if (user - state.since > 3_000_000 || state.times > 200_000) throw new Error('The mutant goes round and round.');
  return true;
};
`.replaceAll('\n', ' ')
