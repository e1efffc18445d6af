import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { isDeepStrictEqual } from 'node:util'
import { FUNCTIONS, type FunctionName, ROOT } from './bundle.ts'

/** What infrastructure/ deploys, for the roots of others. */
export const MODULE = 'infrastructure/modules/image-analyzer'

/** Everything below a module that is no source. */
const LEFTOVERS = /(^|[\\/])(\.terraform(\.lock\.hcl)?|.*\.tfstate.*)$/

/** An empty zip: nothing but the record that ends one. Plans only hash it, and emulators that run nothing keep it. */
const EMPTY_ZIP = Buffer.concat([Buffer.from('PK\x05\x06', 'latin1'), Buffer.alloc(18)])

/** The first in the order of PATH, as a shell finds it. */
export const onPath = (program: string): string | undefined =>
  (process.env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => (folder ? [join(folder, program)] : []))
    .find((file) => existsSync(file))

/**
 * Providers, where the registry is out of reach: the folder above `registry.terraform.io`, as
 * `terraform init -plugin-dir` wants it. `TF_PLUGIN_DIR` says it, or it is in one of the places where packagers and
 * terraform itself keep providers.
 */
function findPlugins(): string | undefined {
  const given = process.env['TF_PLUGIN_DIR']
  const roots = ['/opt', '/usr/share', '/usr/local/share', join(homedir(), '.terraform.d')]
  const patterns = given ? [given] : roots.flatMap((root) => [root, `${root}/*`, `${root}/*/*`])
  return globSync(patterns.map((folder) => `${folder}/registry.terraform.io/hashicorp/aws`))
    .map((found) => resolve(found, '../../..'))
    .at(0)
}

/** What is missing on this machine to run Terraform. */
export function missing(...more: string[]): string[] {
  return [
    ...['terraform', ...more].filter((program) => onPath(program) === undefined),
    ...(findPlugins() === undefined ? ["terraform's AWS provider (TF_PLUGIN_DIR)"] : []),
  ]
}

export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

export interface Copy {
  /** The copy, initialised. */
  folder: string
  terraform: (args: string[], env?: Record<string, string>) => Promise<Outcome>
  /**
   * From now on one process of the AWS provider serves all commands, and has `env` instead of theirs. Otherwise Terraform
   * starts one twice for each run of a test, which is half of its work.
   */
  serveProvider: (env?: Record<string, string>) => Promise<void>
  /** The process of another copy serves this one too, for as long as that copy is there. */
  shareProvider: (other: Copy) => void
  /** What tells Terraform of the process. */
  served: Record<string, string>
  remove: () => void
}

/**
 * A copy of a module with packages in dist/, as in the repository, so that no run leaves anything in the checkout, or touches its state.
 *
 * @param module its folder in the repository
 * @param zips the packages; an empty one for each that is not given
 * @param beside other folders of the repository, which it uses
 */
export async function copyModule(
  module: string,
  zips: Partial<Record<FunctionName, Uint8Array>> = {},
  beside: string[] = [],
): Promise<Copy> {
  const parent = mkdtempSync(join(tmpdir(), 'image-analyzer-terraform-'))
  const folder = join(parent, module)
  for (const each of [module, ...beside]) {
    cpSync(join(ROOT, each), join(parent, each), {
      recursive: true,
      filter: (path) => !LEFTOVERS.test(path),
    })
  }
  mkdirSync(join(parent, 'dist'))
  for (const name of FUNCTIONS) {
    writeFileSync(join(parent, 'dist', `${name}.zip`), zips[name] ?? EMPTY_ZIP)
  }

  const running = new Set<ChildProcess>()
  const served: Record<string, string> = {}
  const terraform = (args: string[], env: Record<string, string> = {}): Promise<Outcome> =>
    ended(begin('terraform', args, folder, { ...env, ...served }, running))
  const serveProvider = async (env: Record<string, string> = {}): Promise<void> => {
    // By version and platform. Without a glob, which does not look into a linked folder.
    let provider = join(folder, '.terraform/providers/registry.terraform.io/hashicorp/aws')
    for (let depth = 0; depth < 2; depth += 1) provider = join(provider, readdirSync(provider)[0] ?? '')
    const program = readdirSync(provider).find((name) => name.startsWith('terraform-provider-aws')) ?? ''
    const child = begin(join(provider, program), ['-debug'], folder, env, running)
    let said = ''
    const attach = await new Promise<string>((resolve, reject) => {
      // Read to its end: what writes to a closed pipe is ended.
      child.stdout.setEncoding('utf8').on('data', (text) => {
        said += text
        // The one line that it gives for a shell.
        const [, line] = /^\s*TF_REATTACH_PROVIDERS='(.+)'$/m.exec(said) ?? []
        if (line !== undefined) resolve(line)
      })
      child.stderr.resume()
      child.once('error', reject)
      child.once('close', () => reject(new Error(`The AWS provider ended before it was ready: ${said}`)))
    })
    served['TF_REATTACH_PROVIDERS'] = attach
  }
  const shareProvider = (other: Copy): void => void Object.assign(served, other.served)
  const remove = (): void => {
    // A test that was given up leaves terraform at work, which has started a provider: the whole group goes.
    for (const { pid } of running) if (pid !== undefined) process.kill(-pid, 'SIGKILL')
    rmSync(parent, { recursive: true, force: true })
  }
  const plugins = findPlugins()
  const init = await terraform(['init', '-input=false', ...(plugins ? [`-plugin-dir=${plugins}`] : [])])
  if (init.status !== 0) {
    remove()
    throw new Error(`terraform init failed: ${init.stderr}`)
  }
  return { folder, terraform, serveProvider, shareProvider, served, remove }
}

/** A program in a process group of its own. */
function begin(
  program: string,
  args: string[],
  cwd: string,
  env: Record<string, string>,
  running: Set<ChildProcess>,
): ChildProcessByStdio<null, Readable, Readable> {
  // Nothing of this machine's AWS: the caller says what is needed.
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|TF_)/.test(name))
  // Terraform and its provider are short runs of Go: by default a fifth of their work is to collect garbage. Without
  // any collection they touch a gigabyte, which costs more than it saves where memory comes slowly.
  const collecting = { GOGC: '400' }
  const child = spawn(program, args, {
    cwd,
    env: {
      ...collecting,
      ...Object.fromEntries(inherited),
      TF_IN_AUTOMATION: '1',
      TF_CLI_ARGS: '-no-color',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  running.add(child)
  child.once('close', () => running.delete(child))
  return child
}

async function ended(child: ChildProcessByStdio<null, Readable, Readable>): Promise<Outcome> {
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { status, stdout, stderr }
}

/** What a plan would change. */
export interface Change {
  /** `address.attribute`, or the address and what would become of all of it. */
  name: string
  /** Both values are JSON and say the same, written otherwise. */
  sameJson: boolean
}

interface PlannedChange {
  address: string
  change: {
    actions: string[]
    before: Record<string, unknown> | null
    after: Record<string, unknown> | null
    after_unknown: Record<string, unknown>
  }
}

/**
 * What is left to change after `apply`: nothing, if the provider reads back what it has written.
 *
 * @returns also how many resources have been looked at
 */
export async function planAgain(
  copy: Copy,
  variables: string[],
  env: Record<string, string>,
): Promise<{ resources: number; changes: Change[] }> {
  const planned = await copy.terraform(['plan', '-input=false', '-out=again', ...variables], env)
  if (planned.status !== 0) throw new Error(`terraform plan failed: ${planned.stderr}`)
  const { stdout } = await copy.terraform(['show', '-json', 'again'], env)
  const { resource_changes } = JSON.parse(stdout) as { resource_changes: PlannedChange[] }
  return { resources: resource_changes.length, changes: resource_changes.flatMap(changesOf) }
}

function changesOf({ address, change }: PlannedChange): Change[] {
  const { actions, before, after, after_unknown } = change
  const action = actions.join(' and ')
  if (action === 'no-op' || action === 'read') return []
  if (action !== 'update') return [{ name: `${address} (${action})`, sameJson: false }]
  const changed = Object.keys({ ...before, ...after, ...after_unknown }).filter(
    (name) => after_unknown[name] === true || !isDeepStrictEqual(before?.[name], after?.[name]),
  )
  if (changed.length === 0) return [{ name: `${address} (${action})`, sameJson: false }]
  return changed.map((name) => ({
    name: `${address}.${name}`,
    sameJson: isSameJson(before?.[name], after?.[name]),
  }))
}

function isSameJson(before: unknown, after: unknown): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(String(before)), JSON.parse(String(after)))
  } catch {
    return false
  }
}
