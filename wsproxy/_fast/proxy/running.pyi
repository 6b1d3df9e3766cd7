from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.state.board import Board

def answer_board(engine: Engine, board: Board) -> None: ...
