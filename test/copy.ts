import { cpSync, readdirSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')

/** Copies the project into a folder, so that what is written there is nothing to the checkout, or to another test. */
export function copyProject(folder: string): void {
  for (const name of readdirSync(root)) {
    if (['node_modules', 'dist', '.git'].includes(name)) continue
    cpSync(join(root, name), join(folder, name), {
      recursive: true,
      filter: (path) => !/(\.terraform|screenshots|results)$/.test(path),
    })
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction')
}
