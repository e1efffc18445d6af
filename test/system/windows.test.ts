import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { newFolder, root } from '../started.ts'
import { skipped, without } from '../tools.ts'

/** What is different on Windows, as far as another system can show it. */

const noGit = without('git')
it.skipIf(noGit.length > 0)(
  `a checkout by Git for Windows has the lines of all others: a browser hashes the page with these${skipped(noGit)}`,
  () => {
    const [origin, copy] = [newFolder(), newFolder()]
    const files = {
      '.gitattributes': readFileSync(join(root, '.gitattributes'), 'latin1'),
      'page.html': '<style>\n</style>\n',
      'photo.jpg': '\xff\xd8\0\r\n\n',
    }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(origin, name), text, 'latin1')
    for (const args of [['init'], ['add', '.'], ['checkout-index', '--all', `--prefix=${copy}/`]])
      execFileSync('git', ['-c', 'core.autocrlf=true', ...args], { cwd: origin, stdio: 'ignore' })
    const there = readdirSync(copy).map((name) => [name, readFileSync(join(copy, name), 'latin1')])
    expect(Object.fromEntries(there)).toEqual(files)
  },
)
