import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSync } from 'esbuild'

const WEB = join(import.meta.dirname, '..', 'web')

/** The web page, and the API reference. */
export const PAGES = ['page', 'docs'] as const
export type PageName = (typeof PAGES)[number]

/**
 * A page with style and script inside: one request, and no path that a stage prefix could break. Names and lines stay as
 * they are, for those who look for a fault in a browser; comments and indents are for those who read the source.
 */
export function bundlePage(name: PageName): string {
  const { outputFiles } = buildSync({
    absWorkingDir: WEB,
    entryPoints: [`${name}.js`, `${name}.css`],
    outdir: '.',
    write: false,
    bundle: true,
    format: 'esm',
    target: 'esnext',
    charset: 'utf8',
    minifyWhitespace: true,
    lineLimit: 320,
    legalComments: 'none',
  })
  const read = (file: string): string => {
    const output = outputFiles.find(({ path }) => path === join(WEB, file))
    if (output === undefined) throw new Error(`esbuild made no ${file}.`)
    return output.text
  }
  // To esbuild the space before a custom property's value is a part of it.
  const style = read(`${name}.css`).replaceAll(/(--[a-z-]+): /g, '$1:')
  // Functions, because `$&` and the like in a replacement string have a meaning of their own.
  return readFileSync(join(WEB, `${name}.html`), 'utf8')
    .replaceAll(/^[ \t]+/gm, '')
    .replaceAll(' />', '/>')
    .replace('/*STYLE*/', () => style)
    .replace('/*SCRIPT*/', () => read(`${name}.js`))
}
