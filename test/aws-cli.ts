import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll } from 'vitest'
import { onPath } from '../build/terraform.ts'
import { without } from './tools.ts'

/** Where it is missing, what tests that need it are skipped for. */
export const noCli = without('aws')

/** Runs commands of the CLI, one a line. To load it takes half a second of the processor each time. */
const ONE_BY_ONE = `import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = driver.main(json.loads(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)`

/** The AWS CLI. @returns what it prints; rejected with what it says of trouble */
export function awsCli(): (...args: string[]) => Promise<string> {
  const env = {
    ...process.env,
    ...{ AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y', AWS_DEFAULT_REGION: 'us-east-1' },
    ...{ AWS_DEFAULT_OUTPUT: 'json', AWS_PAGER: '', AWS_MAX_ATTEMPTS: '1' },
  }
  let child: ChildProcessByStdio<Writable, Readable, null> | undefined
  let answers: AsyncIterator<string> | undefined
  afterAll(() => void child?.kill())
  return async (...args) => {
    // Version 1 is a program of Python, version 2 brings one along that runs nothing else.
    const [, python] =
      /^#!(\S*python\S*)$/m.exec(readFileSync(onPath('aws') ?? '', 'latin1').slice(0, 200)) ?? []
    if (python === undefined) return (await promisify(execFile)('aws', args, { env })).stdout
    child ??= spawn(python, ['-c', ONE_BY_ONE], { env, stdio: ['pipe', 'pipe', 'inherit'] })
    answers ??= createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    child.stdin.write(`${JSON.stringify(args)}\n`)
    const { code, out, err } = JSON.parse((await answers.next()).value ?? '{"err":"It has ended."}')
    if (code !== 0) throw new Error(err)
    return out
  }
}
